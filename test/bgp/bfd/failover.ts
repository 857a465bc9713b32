// How long packets are lost when the better of two routers falls silent: margay-bgp with a session and BFD to each, two BIRDs that
// announce the same prefix, and a stream of a thousand packets a second to an address in it, which both routers have.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  bindSocket,
  closeDescriptor,
  openSocket,
  receiveNow,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
} from '../../../kernel/libc.ts'
import { runInNetns } from '../../../kernel/netns.ts'
import { KernelError } from '../../../kernel/port/error.ts'
import { socketAddress } from '../../../kernel/sockopt.ts'
import { systemProgram } from '../../../lib/system-program.ts'
import { type ScratchNetns, scratchNetns } from '../../kernel/scratch-netns.ts'
import { bird } from '../daemons.ts'
import { Margay, makeLink, OURS, Program, type TestLink, THEIRS, until } from '../interop.ts'
import { silence, speak } from './silence.ts'
import { passable } from './thread.ts'

export type FailoverWanted = { intervalMs: number; multihop: boolean }

const BACKUP = { ours: '198.51.100.1', theirs: '198.51.100.2' } as const
const ADDRESS = '203.0.113.1'
const PREFIX = '203.0.113.0/24'
const PORT = 9
/** What is lost before the cut is a fault of the machine; after it packets must come this long before it is over. */
const WHOLE_MS = 300
const MOST_MS = 20_000

const ip = (...args: readonly string[]) =>
  execFileSync(systemProgram('ip'), args, { stdio: ['ignore', 'ignore', 'pipe'] })

export class Failover {
  readonly margay: Margay
  readonly #link: TestLink
  readonly #backup: ScratchNetns
  readonly #programs: readonly Program[]
  readonly #sender: number
  readonly #receivers: readonly number[]

  private constructor(link: TestLink, backup: ScratchNetns, { intervalMs, multihop }: FailoverWanted) {
    this.#link = link
    this.#backup = backup
    const routers = [
      { name: 'best', netns: link.theirs, ours: OURS.ipv4, theirs: THEIRS.ipv4, worse: false },
      { name: 'backup', netns: backup, ours: BACKUP.ours, theirs: BACKUP.theirs, worse: true },
    ]
    this.#programs = routers.map(({ name, netns, ours, theirs, worse }) => {
      const files = ['conf', 'ctl', 'pid'].map(ending => join(link.folder, `${name}.${ending}`))
      const [config = '', socket = '', pid = ''] = files
      const bfd = `interval ${intervalMs} ms; multiplier 3;`
      writeFileSync(
        config,
        `log stderr all;
router id ${theirs};
protocol device {}
protocol static { ipv4; route ${PREFIX} blackhole; }
protocol bfd { interface "*" { ${bfd} }; multihop { ${bfd} }; }
protocol bgp { local ${theirs} as 65002; neighbor ${ours} as 65001; ${multihop ? 'multihop 2;' : 'direct;'} bfd on;
  connect delay time 1; connect retry time 1; error wait time 1,2;
  ipv4 { import none; next hop self; export filter { ${worse ? 'bgp_path.prepend(65003);' : ''} if source = RTS_STATIC then accept; reject; }; }; }
`,
      )
      return new Program(netns, link.folder, {
        name,
        command: bird.program,
        args: ['-f', '-c', config, '-s', socket, '-P', pid],
      })
    })
    this.margay = new Margay(link, {
      kernel: { table: 254 },
      neighbors: routers.map(({ name, theirs }) => ({
        ...{ name, address: theirs, asn: 65002, import: 'accept', export: 'accept', connectRetry: 1 },
        ...(multihop && { multihop: 2 }),
        bfd: { interval: intervalMs, multiplier: 3, multihop },
      })),
    })
    const open = () => openSocket(SOCKET_FAMILY.ipv4, SOCKET_TYPE.datagram, 0, 'stream')
    this.#sender = runInNetns(link.ours.path, open)
    this.#receivers = routers.map(({ netns }) => {
      const fd = runInNetns(netns.path, open)
      bindSocket(fd, socketAddress(ADDRESS, PORT), 'stream')
      return fd
    })
  }

  /** Two routers and margay-bgp, with nothing up yet. Root, and BIRD. */
  static async open(wanted: FailoverWanted): Promise<Failover> {
    const link = await passable(makeLink())
    const backup = scratchNetns()
    ip('link', 'add', 'e1', 'netns', link.ours.name, 'type', 'veth', 'peer', 'name', 'e1', 'netns', backup.name)
    for (const [netns, address] of [
      [link.ours, BACKUP.ours],
      [backup, BACKUP.theirs],
    ] as const) {
      ip('-n', netns.name, 'addr', 'add', `${address}/24`, 'dev', 'e1')
      for (const dev of ['e1', 'lo']) ip('-n', netns.name, 'link', 'set', dev, 'up')
    }
    for (const { name } of [link.theirs, backup]) ip('-n', name, 'addr', 'add', `${ADDRESS}/32`, 'dev', 'lo')
    return new Failover(link, backup, wanted)
  }

  /** Waits until both sessions and their BFD are up, and the kernel sends to the better router. */
  async ready(): Promise<void> {
    const way = () =>
      execFileSync(systemProgram('ip'), ['-n', this.#link.ours.name, 'route', 'get', ADDRESS], { encoding: 'utf8' })
    await until(
      'both are up, and packets go to the better one',
      async () =>
        (await this.margay.peers()).every(({ state, bfd }) => state === 'Established' && bfd?.state === 'Up') &&
        way().includes(`via ${THEIRS.ipv4} `),
      () => [this.margay.program, ...this.#programs].map(each => each.output().slice(-2000)).join('\n'),
      60_000,
    )
  }

  /**
   * Silences the better router, and resolves with the milliseconds from then to the sending of the last packet that was lost,
   * and to when margay-bgp heard of it from BFD.
   */
  async lost(): Promise<{ lostMs: number; heardMs: number }> {
    for (const fd of this.#receivers) while (receiveNow(fd, Buffer.alloc(8), 'stream') > 0);
    const startMs = performance.now()
    const sent: number[] = []
    const arrived = new Set<number>()
    const packet = Buffer.alloc(8)
    /** Sends what is due, also after this thread had to wait. */
    const step = () => {
      while (sent.length < performance.now() - startMs) {
        const atMs = performance.now()
        packet.writeDoubleLE(atMs)
        this.#send(packet)
        sent.push(atMs)
      }
      for (const fd of this.#receivers) while (receiveNow(fd, packet, 'stream') > 0) arrived.add(packet.readDoubleLE(0))
    }
    const timer = setInterval(step, 1)
    try {
      await until('the stream flows', () => arrived.size > 100)
      silence(this.#link.theirs)
      const cutMs = performance.now()
      const lastLostMs = () => sent.findLast(atMs => atMs > cutMs && !arrived.has(atMs))
      await until(
        'packets arrive again',
        async () => {
          await pause(WHOLE_MS)
          return sent
            .filter(atMs => atMs > performance.now() - WHOLE_MS + 50)
            .every(at => arrived.has(at) || at > performance.now() - 20)
        },
        () => `${arrived.size} of ${sent.length}`,
        MOST_MS,
      )
      clearInterval(timer)
      await pause(50)
      step()
      const last = lastLostMs()
      const heard = this.margay.program
        .output()
        .matchAll(/"time":"([^"]+)"[^\n]*"reason":"bfd-down","detail"/g)
        .toArray()
        .at(-1)
      const heardMs = Date.parse(heard?.[1] ?? '') - performance.timeOrigin - cutMs
      return { lostMs: last === undefined ? 0 : last - cutMs, heardMs }
    } finally {
      clearInterval(timer)
      speak(this.#link.theirs)
      // it would be damped for falling again and again
      await this.margay.clear('best', 'hard')
    }
  }

  /** Where there is no way at all, as both routers are lost on a machine that stood still, a packet is lost, too. */
  #send(packet: Buffer): void {
    try {
      sendTo(this.#sender, packet, socketAddress(ADDRESS, PORT), 'stream')
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'ENETUNREACH')) throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const fd of [this.#sender, ...this.#receivers]) closeDescriptor(fd)
    await Promise.all(this.#programs.map(program => program.stop('SIGKILL')))
    await this.#link[Symbol.asyncDispose]()
    this.#backup[Symbol.dispose]()
  }
}
