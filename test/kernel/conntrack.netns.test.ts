// Tracked connections of a real kernel, compared with what conntrack(8) makes, lists and has left.
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Flow, FlowTuple } from '../../kernel/port/conntrack.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'

const netns = isRoot ? test.serial : test.skip
if (!isRoot)
  test('connections are tracked for root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

class Space implements Disposable {
  readonly #space = scratchNetns()
  readonly kernel: Kernel

  constructor() {
    using host = openKernel()
    this.kernel = host.inside(this.#space.path)
  }

  conntrack(args: string): string {
    const words = [`--net=${this.#space.path}`, '--', systemProgram('conntrack'), ...args.split(' ')]
    return execFileSync(systemProgram('nsenter'), words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  }

  /** Makes these entries, as arguments of conntrack(8). */
  load(entries: readonly string[]): void {
    const file = `/tmp/margay-conntrack-${process.pid}`
    writeFileSync(file, `${entries.join('\n')}\n`)
    try {
      this.conntrack(`--load-file ${file}`)
    } finally {
      rmSync(file)
    }
  }

  async flowsOf(...addresses: string[]): Promise<Flow[]> {
    const flows: Flow[] = []
    await this.kernel.flowsOf(new Set(addresses), flow => flows.push(flow))
    return flows
  }

  /** The entries that conntrack(8) lists, as their tuples. */
  listed(): string[] {
    return ['ipv4', 'ipv6'].flatMap(family =>
      this.conntrack(`-L -f ${family}`)
        .split('\n')
        .filter(line => line !== '')
        .map(line =>
          [...line.matchAll(/\b(src|dst|sport|dport|type|code|id|srckey|dstkey)=(\S+)/g)].map(
            ([, k, v]) => `${k}=${v}`,
          ),
        )
        .map(words => words.join(' ')),
    )
  }

  [Symbol.dispose](): void {
    this.kernel.close()
    this.#space[Symbol.dispose]()
  }
}

/** As conntrack(8) writes a connection. */
function textOf({ original, reply }: Flow): string {
  const tuple = ({ source, destination, ports, icmp }: FlowTuple) => {
    const rest = ports === undefined ? '' : ` sport=${ports.source} dport=${ports.destination}`
    return `src=${source} dst=${destination}${icmp === undefined ? rest : ` type=${icmp.type} code=${icmp.code} id=${icmp.id}`}`
  }
  return `${tuple(original)} ${tuple(reply)}`
}

const ENTRIES = [
  '-I -p tcp -s 10.244.1.5 -d 10.96.0.1 --sport 40000 --dport 443 --state ESTABLISHED -t 600 -g 10.244.1.7:6443',
  '-I -p udp -s 10.244.1.5 -d 10.244.2.9 --sport 40001 --dport 53 -t 600',
  '-I -p sctp -s 10.244.3.1 -d 10.244.1.5 --sport 40002 --dport 80 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -t 600',
  '-I -p icmp -s 10.244.3.1 -d 10.244.2.9 --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 600',
  '-I -p tcp -s 10.244.2.9 -d 192.0.2.1 --sport 40003 --dport 80 --state ESTABLISHED -t 600 -n 198.51.100.1',
  '-I -p udp -s fd00:244::5 -d fd00:244::9 --sport 40004 --dport 53 -t 600',
  '-I -p icmpv6 -s fd00:244::5 -d fd00:244::7 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 78 -t 600',
]

netns('what is read of tracked connections is what conntrack -L lists', async t => {
  using space = new Space()
  space.load(ENTRIES)
  const addresses = ['10.244.1.5', '10.244.3.1', '10.244.2.9', 'fd00:244::5']
  t.deepEqual((await space.flowsOf(...addresses)).map(textOf).sort(), space.listed().sort())
  t.is(space.listed().length, ENTRIES.length)
})

/** Connections of others, so many that addresses are asked for one by one. */
const MANY = Array.from(
  { length: 1_100 },
  (_, i) => `-I -p udp -s 10.1.${i >> 8}.${i & 255} -d 10.99.0.1 --sport 1024 --dport 53 -t 600`,
)

for (const others of [[], MANY])
  netns(
    `connections of one address are found among ${others.length} of others, whether it opened them or answers, behind a Service too`,
    async t => {
      using space = new Space()
      space.load([...ENTRIES, ...others])
      const found = async (address: string) =>
        [
          ...new Set(
            (await space.flowsOf(address)).map(({ original: { protocol, source } }) => `${protocol} ${source}`),
          ),
        ].sort()
      t.deepEqual(await found('10.96.0.1'), [])
      t.deepEqual(await found('10.244.1.7'), ['6 10.244.1.5'])
      t.deepEqual(await found('10.244.2.9'), ['1 10.244.3.1', '17 10.244.1.5', '6 10.244.2.9'])
      t.deepEqual(await found('fd00:244::7'), ['58 fd00:244::5'])
      t.deepEqual(await found('10.244.9.9'), [])
      t.deepEqual(await space.flowsOf(), [])
    },
  )

netns('a deletion deletes this very entry, and none that was made for the same packets later', async t => {
  using space = new Space()
  space.load(ENTRIES)
  const flows = new Map(
    (await space.flowsOf('10.244.1.5', '10.244.2.9', 'fd00:244::5')).map(flow => [textOf(flow), flow]),
  )
  const sctp = [...flows.values()].find(({ original }) => original.protocol === 132)!
  t.deepEqual(await space.kernel.deleteFlows([sctp, sctp]), [undefined, undefined])
  t.is(space.listed().length, ENTRIES.length - 1)
  space.load([ENTRIES[2]!])
  await space.kernel.deleteFlows([{ ...sctp, id: (sctp.id + 1) >>> 0 }])
  t.is(space.listed().length, ENTRIES.length, 'an entry with another number stays')
  await space.kernel.deleteFlows(await space.flowsOf('10.244.3.1', '10.244.1.5', 'fd00:244::5', '10.244.2.9'))
  t.deepEqual(space.listed(), [])
})

netns('a table of 100,000 connections is read in more than a hundred turns, so nobody waits for all of it', async t => {
  using space = new Space()
  const lines = Array.from({ length: 100_000 }, (_, i) => {
    const [high, low] = [(i >> 8) & 255, i & 255]
    return `-I -p udp -s 10.${1 + (i >> 16)}.${high}.${low} -d 10.99.0.${i % 10} --sport 1024 --dport 53 -t 600`
  })
  space.load(lines)
  let longest = 0
  let turns = 0
  let done = false
  const watch = (async () => {
    for (let at = performance.now(); !done; turns++) {
      await turn()
      longest = Math.max(longest, performance.now() - at)
      at = performance.now()
    }
  })()
  let told = 0
  const started = performance.now()
  await space.kernel.flowsOf(new Set(['10.99.0.1', '10.99.0.2', '10.99.0.3']), () => told++)
  const took = performance.now() - started
  done = true
  await watch
  t.is(told, 30_000)
  t.true(turns > 100, `others had ${turns} turns`)
  t.log(`${took.toFixed()} ms in ${turns} turns, the longest ${longest.toFixed(1)} ms`)
  const one = performance.now()
  t.is(new Set((await space.flowsOf('10.1.0.77')).map(({ id }) => id)).size, 1)
  t.log(`one address: ${(performance.now() - one).toFixed()} ms`)
})

netns('who takes a millisecond over each connection lets others go on after some of them', async t => {
  using space = new Space()
  space.load(
    Array.from(
      { length: 400 },
      (_, i) => `-I -p udp -s 10.1.${i >> 8}.${i & 255} -d 10.99.0.1 --sport 1 --dport 53 -t 600`,
    ),
  )
  let turns = 0
  let done = false
  const watch = (async () => {
    for (; !done; turns++) await turn()
  })()
  const told = new Set<number>()
  await space.kernel.flowsOf('all', ({ id }) => {
    told.add(id)
    for (const until = performance.now() + 1; performance.now() < until; );
  })
  done = true
  await watch
  t.is(told.size, 400)
  t.true(turns > 40, `others had ${turns} turns`)
})
