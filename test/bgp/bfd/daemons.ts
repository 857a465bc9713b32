// BIRD and FRR as neighbours in BFD, one row each: how their configuration is written, and what they say of their sessions.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BIRD3, birdSocket, frr, frrDaemon, vtysh } from '../daemons.ts'
import { type Command, type Link, OURS, say, THEIRS } from '../interop.ts'

export type Path = 'ipv4' | 'ipv6' | 'ipv4 multihop' | 'ipv6 multihop'
export const PATHS: readonly Path[] = ['ipv4', 'ipv6', 'ipv4 multihop', 'ipv6 multihop']
export const familyOfPath = (path: Path) => path.slice(0, 4) as 'ipv4' | 'ipv6'

/** What a daemon is told for all of its paths. */
export type Wanted = {
  paths: readonly Path[]
  intervalMs: number
  multiplier: number
  passive?: boolean
  authentication?: { type: 'sha1' | 'meticulous-sha1'; id: number; secret: string }
}

export type BfdDaemon = {
  name: string
  program: string
  /** The TTL that its multihop packets arrive with over one link. */
  multihopTtl: number
  /** What it, or Debian's build of it, cannot do. */
  cannot: Partial<Record<'authentication' | 'reload', string>>
  beside?(link: Link): Command
  prepare(link: Link, wanted: Wanted): Command
  /** The state of the session of each path, in small letters, and the times it has agreed on in milliseconds. */
  sessions(link: Link): { path: Path; state: string; transmitMs: number; detectionMs: number }[]
  /** Takes another configuration while it runs. */
  reload?(link: Link, wanted: Wanted): void
}

function birdConfig({ paths, intervalMs, multiplier, passive, authentication }: Wanted): string {
  const { type, id, secret } = authentication ?? {}
  const options = `min rx interval ${intervalMs} ms; min tx interval ${intervalMs} ms; idle tx interval 1 s; multiplier ${multiplier};
    ${passive ? 'passive yes;' : '' /* BIRD 3 takes "no" for "yes": it sends nothing first */}
    ${type === undefined ? '' : `authentication ${type === 'sha1' ? '' : 'meticulous '}keyed sha1; password "${secret}" { id ${id}; };`}`
  const neighbors = paths.map(path => {
    const family = familyOfPath(path)
    return path === family
      ? `neighbor ${OURS[family]} dev "e0" local ${THEIRS[family]};`
      : `neighbor ${OURS[family]} local ${THEIRS[family]} multihop yes;`
  })
  return `log stderr all;
router id ${THEIRS.ipv4};
protocol device {}
protocol bfd {
  interface "e0" { ${options} };
  multihop { ${options} };
  ${neighbors.join('\n  ')}
}
`
}

const birdKind = (name: string, program: string): BfdDaemon => ({
  name,
  program,
  multihopTtl: 64,
  cannot: {},
  prepare(link, wanted) {
    const config = join(link.folder, 'bird.conf')
    writeFileSync(config, birdConfig(wanted))
    const files = ['-c', config, '-s', birdSocket(link), '-P', join(link.folder, 'bird.pid')]
    return { command: program, args: ['-f', ...files] }
  },
  sessions: link =>
    [
      ...say(link, 'birdc', '-s', birdSocket(link), 'show', 'bfd', 'sessions').matchAll(
        /^([0-9a-f.:]+)\s+(e0|---)\s+(\w+)\s+\S+\s+([\d.]+)\s+([\d.]+)/gm,
      ),
    ].map(([, address, dev, state, interval, timeout]) => ({
      path: `${address!.includes(':') ? 'ipv6' : 'ipv4'}${dev === 'e0' ? '' : ' multihop'}` as Path,
      state: state!.toLowerCase(),
      transmitMs: Math.round(Number(interval) * 1000),
      detectionMs: Math.round(Number(timeout) * 1000),
    })),
  reload(link, wanted) {
    writeFileSync(join(link.folder, 'bird.conf'), birdConfig(wanted))
    say(link, 'birdc', '-s', birdSocket(link), 'configure')
  },
})
export const birdBfd = birdKind('BIRD', '/usr/sbin/bird')
export const bird3Bfd = birdKind('BIRD 3', BIRD3)

type FrrPeer = {
  peer: string
  multihop: boolean
  status: string
  'transmit-interval': number
  'remote-receive-interval': number
  'receive-interval': number
  'remote-transmit-interval': number
  'remote-detect-multiplier': number
}

/** bfdd has no authentication, and takes a configuration by commands only. */
export const frrBfd: BfdDaemon = {
  name: 'FRR',
  program: '/usr/lib/frr/bfdd',
  multihopTtl: 255,
  cannot: { authentication: 'bfdd has none', reload: 'bfdd reads no file again' },
  beside: link => frr.beside!(link),
  prepare(link, { paths, intervalMs, multiplier, passive }) {
    const peers = paths.map(path => {
      const family = familyOfPath(path)
      const way = path === family ? '' : ' multihop'
      // a session that names its interface waits until zebra has told of it, and one in thirty did not come up
      return ` peer ${OURS[family]}${way} local-address ${THEIRS[family]}
  receive-interval ${intervalMs}
  transmit-interval ${intervalMs}
  detect-multiplier ${multiplier}
  ${passive ? 'passive-mode' : '!'}
  no shutdown
 !`
    })
    const { command, args } = frrDaemon(link, 'bfdd', `log stdout\nbfd\n${peers.join('\n')}\n!\n`)
    return { command, args: [...args, '--bfdctl', join(link.folder, 'frr/bfdd.sock')] }
  },
  sessions: link =>
    (JSON.parse(vtysh(link, 'show bfd peers json')) as FrrPeer[]).map(peer => ({
      path: `${peer.peer.includes(':') ? 'ipv6' : 'ipv4'}${peer.multihop ? ' multihop' : ''}` as Path,
      state: peer.status,
      transmitMs: Math.max(peer['transmit-interval'], peer['remote-receive-interval']),
      detectionMs:
        peer['remote-detect-multiplier'] * Math.max(peer['receive-interval'], peer['remote-transmit-interval']),
    })),
}
