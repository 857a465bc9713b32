// A node with two pods that have interfaces; the other 248 are names in its maps, which cost the same.
import { type ChildProcess, execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { addNetns, netnsPath, removeNetns, spawnInNetns } from '../../kernel/netns.ts'
import { SYSTEM_PATH, systemProgram } from '../../lib/system-program.ts'
import { CLIENT, podAddress, SERVER } from './cluster.ts'
import type { Ask } from './traffic.ts'

/** No program is waited for longer. */
const LONGEST_MS = 120_000
const GATEWAY = '169.254.1.1'

/** A program was ended: it had not done its work in `LONGEST_MS`. Any other error of one is a failure, which it has told itself. */
export class TookTooLong extends Error {
  override readonly name = 'TookTooLong'
}

/** A namespace of a pod with the program of traffic.ts in it. */
class Party {
  readonly #child: ChildProcess

  constructor(netns: string) {
    this.#child = spawnInNetns(netns, process.execPath, [fileURLToPath(new URL('traffic.ts', import.meta.url))], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
  }

  /** One question at a time. */
  async ask<T>(ask: Ask): Promise<T> {
    this.#child.send(ask)
    return new Promise<T>((done, failed) => {
      const ended = (code: number | null) => failed(new Error(`the traffic ended: ${code}`))
      this.#child.once('exit', ended)
      this.#child.once('message', message => {
        this.#child.off('exit', ended)
        done((message as { answer: T }).answer)
      })
    })
  }

  close(): void {
    this.#child.removeAllListeners()
    this.#child.kill('SIGKILL')
  }
}

export class BenchNode {
  readonly netns: string
  readonly client: Party
  readonly server: Party
  readonly #names: readonly string[]

  constructor(name: string) {
    const names = ['', '-client', '-server'].map(each => `mgb-${process.pid}-${name}${each}`)
    this.#names = names
    for (const each of names) addNetns(each)
    const [node, client, server] = names.map(netnsPath) as [string, string, string]
    this.netns = node
    this.run(`sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0`)
    for (const [i, path] of [
      [CLIENT, client],
      [SERVER, server],
    ] as const) {
      const [own, pod] = [`02:00:00:00:01:0${i}`, `02:00:00:00:02:0${i}`]
      this.run(`ip link add cali${i} address ${own} type veth peer name eth0 address ${pod} netns ${names[i + 1]}
        ip link set cali${i} up
        ip route add ${podAddress(i)} dev cali${i}
        ip neigh add ${podAddress(i)} lladdr ${pod} dev cali${i}`)
      inside(
        path,
        `ip addr add ${podAddress(i)}/32 dev eth0
        ip link set eth0 up
        ip route add ${GATEWAY} dev eth0
        ip route add default via ${GATEWAY}
        ip neigh add ${GATEWAY} lladdr ${own} dev eth0`,
      )
    }
    // what was tracked goes on being so, as on a node with Services
    this.run(
      'nft -f -',
      'table ip tracked { chain known { type filter hook forward priority -200; ct state established counter; };\n}\n',
    )
    this.client = new Party(client)
    this.server = new Party(server)
  }

  /** Runs a script of the shell in the node's namespace, with `input` on its standard input. Throws `TookTooLong` or how it failed. */
  run(script: string, input = ''): void {
    inside(this.netns, script, input)
  }

  [Symbol.dispose](): void {
    this.client.close()
    this.server.close()
    for (const each of this.#names) removeNetns(each)
  }
}

function inside(path: string, script: string, input = ''): void {
  try {
    execFileSync(systemProgram('nsenter'), [`--net=${path}`, 'sh', '-ec', script], {
      input,
      timeout: LONGEST_MS,
      stdio: ['pipe', 'ignore', 'inherit'],
      // npm's PATH has another program named nft first
      env: { PATH: SYSTEM_PATH },
    })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ETIMEDOUT') throw new TookTooLong(script)
    throw error
  }
}
