// The daemons of the interop suite, one row each. Facts about their flags and traps are in the comments of the rows.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemProgram } from '../../lib/system-program.ts'
import { birdStatements, exabgpRoute, frrRouteMap, gobgpWords, openbgpdSet } from './carried.ts'
import { type Command, type DaemonKind, type Link, OURS, say, THEIRS, type Wanted } from './interop.ts'

export const birdSocket = (link: Link) => join(link.folder, 'bird.ctl')

/** The program that lab/bird3.sh makes. Commands of Debian's birdc are its own too. */
export const BIRD3 = new URL('../../.cache/bird3/bird', import.meta.url).pathname

/** BIRD. Its own error wait is minutes: it is set low, or a test would wait for it. */
const birdKind = (name: string, program: string, reloadIn: readonly string[]): DaemonKind => ({
  name,
  program,
  cannot: {},
  unsaid: ['atomicAggregate', 'aggregator'],
  prepare(link, wanted) {
    const config = join(link.folder, 'bird.conf')
    writeFileSync(config, birdConfig(wanted))
    return {
      command: program,
      args: ['-f', '-c', config, '-s', birdSocket(link), '-P', join(link.folder, 'bird.pid')],
    }
  },
  learned: link =>
    [...say(link, 'birdc', '-s', birdSocket(link), 'show', 'route').matchAll(/^([0-9a-f.:]+\/\d+)\s.*\[s[46] /gm)].map(
      ([, prefix]) => prefix!,
    ),
  sessions: link => say(link, 'birdc', '-s', birdSocket(link), 'show', 'protocols', 'all'),
  refresh(link) {
    for (const name of ['s4', 's6']) say(link, 'birdc', '-s', birdSocket(link), ...reloadIn, name)
  },
})
export const bird = birdKind('BIRD', '/usr/sbin/bird', ['reload', 'in'])
export const bird3 = birdKind('BIRD 3', BIRD3, ['reload', 'bgp', 'in'])

function birdConfig(wanted: Wanted): string {
  // a MED that is set earlier than on export does not leave the AS
  const exported =
    wanted.carried === undefined
      ? 'export where source = RTS_STATIC;'
      : `export filter { if source = RTS_STATIC then { ${birdStatements(wanted.carried)} accept; } reject; };`
  const session = (family: 'ipv4' | 'ipv6', name: string) => `
protocol bgp ${name} {
  local ${THEIRS[family]} as ${wanted.asn}; neighbor ${OURS[family]} as ${wanted.peerAsn};
  hold time ${wanted.holdSeconds}; connect delay time 1; connect retry time 1; error wait time 1,2;
  ${wanted.password === undefined ? '' : `password "${wanted.password}";`}
  ${wanted.passive ? 'passive yes;' : ''}
  ${wanted.restartSeconds === undefined ? '' : `graceful restart yes; graceful restart time ${wanted.restartSeconds};`}
  ${wanted.lines?.session?.(OURS[family]) ?? ''}
  ${family} { import all; ${exported} next hop self; ${wanted.addPath ? 'add paths yes;' : ''}
    ${wanted.lines?.family?.(OURS[family]) ?? ''} };
}`
  const statics = (family: 'ipv4' | 'ipv6') =>
    `protocol static { ${family}; ${wanted[family].map(prefix => `route ${prefix} blackhole;`).join(' ')} }`
  return `log stderr all;
router id ${THEIRS.ipv4};
protocol device {}
protocol direct { ipv4; ipv6; interface "e0"; }
${statics('ipv4')}
${statics('ipv6')}
${session('ipv4', 's4')}
${session('ipv6', 's6')}
${wanted.lines?.end ?? ''}
`
}

const frrFolder = (link: Link) => join(link.folder, 'frr')
export const vtysh = (link: Link, command: string) => say(link, 'vtysh', '--vty_socket', frrFolder(link), '-c', command)

/**
 * FRR: bgpd with the zebra that it asks for next hops and interfaces; both drop their privileges before they read. It
 * gathers updates for more than a second unless it is told less.
 */
export const frr: DaemonKind = {
  name: 'FRR',
  program: '/usr/lib/frr/bgpd',
  cannot: {},
  // `set aggregator as 4200000001` of 8.4.4 puts 3816953000 into its own table
  unsaid: ['aggregator'],
  beside(link) {
    const folder = frrFolder(link)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'zebra.conf'), 'log stdout\n')
    giveToFrr(link)
    return { command: '/usr/lib/frr/zebra', args: frrArgs(link, 'zebra') }
  },
  prepare(link, wanted) {
    const { command, args } = frrDaemon(link, 'bgpd', frrConfig(wanted))
    return { command, args: [...args, '-l', THEIRS.ipv4, '-l', THEIRS.ipv6] }
  },
  learned: link =>
    ['ipv4', 'ipv6'].flatMap(family => {
      const { routes } = JSON.parse(vtysh(link, `show bgp ${family} unicast json`)) as {
        routes: Record<string, { path?: string; valid?: boolean; peerId?: string }[]>
      }
      return Object.entries(routes)
        .filter(([, paths]) => paths.some(({ valid, peerId }) => valid && peerId !== '(unspec)'))
        .map(([prefix]) => prefix)
    }),
  sessions: link => vtysh(link, 'show bgp summary'),
  refresh(link) {
    vtysh(link, 'clear bgp ipv4 unicast * soft in')
    vtysh(link, 'clear bgp ipv6 unicast * soft in')
  },
}

/** Writes the configuration of one of its daemons, which needs zebra beside it, and says how it is started. */
export function frrDaemon(link: Link, name: 'bgpd' | 'bfdd', config: string): Command {
  writeFileSync(join(frrFolder(link), `${name}.conf`), config)
  giveToFrr(link)
  awaitZebra(link)
  return { command: `/usr/lib/frr/${name}`, args: frrArgs(link, name) }
}

/**
 * bgpd withdraws IPv6 routes with a link-local next hop for the whole of a session that came up before zebra had told it
 * of its interfaces: zebra must know them before bgpd begins.
 */
function awaitZebra(link: Link): void {
  const end = performance.now() + 20_000
  const pause = new Int32Array(new SharedArrayBuffer(4))
  const knows = () => {
    try {
      const words = ['--vty_socket', frrFolder(link), '-d', 'zebra', '-c', 'show interface brief']
      return say(link, 'vtysh', ...words).includes('e0')
    } catch {
      return false // its socket is not there yet
    }
  }
  while (!knows()) {
    if (performance.now() > end) throw new Error('zebra does not know its interfaces')
    Atomics.wait(pause, 0, 0, 20) // between two looks; everything here is synchronous
  }
}

function frrArgs(link: Link, program: string): string[] {
  const folder = frrFolder(link)
  const files = ['-f', join(folder, `${program}.conf`), '-i', join(folder, `${program}.pid`)]
  return [
    ...files,
    '-z',
    join(folder, 'zserv.api'),
    '--vty_socket',
    folder,
    '-u',
    'frr',
    '-g',
    'frr',
    '--log',
    'stdout',
  ]
}

function giveToFrr(link: Link): void {
  execFileSync(systemProgram('chown'), ['-R', 'frr:frr', frrFolder(link)])
  execFileSync(systemProgram('chmod'), ['755', link.folder])
}

function frrConfig(wanted: Wanted): string {
  const neighbor = (family: 'ipv4' | 'ipv6') => ` neighbor ${OURS[family]} remote-as ${wanted.peerAsn}
 neighbor ${OURS[family]} timers connect 1
 ${wanted.password === undefined ? '!' : `neighbor ${OURS[family]} password ${wanted.password}`}
 ${wanted.passive ? `neighbor ${OURS[family]} passive` : '!'}
 ${wanted.lines?.session?.(OURS[family]) ?? '!'}`
  const activate = (family: 'ipv4' | 'ipv6') => ` address-family ${family} unicast
${wanted[family].map(prefix => `  network ${prefix}${wanted.carried === undefined ? '' : ' route-map carried'}`).join('\n')}
  neighbor ${OURS[family]} activate
  neighbor ${OURS[family]} next-hop-self
  ${wanted.addPath ? `neighbor ${OURS[family]} addpath-tx-all-paths` : '!'}
  ${wanted.lines?.family?.(OURS[family]) ?? '!'}
 exit-address-family`
  const graceful =
    wanted.restartSeconds === undefined
      ? '!'
      : ` bgp graceful-restart
 bgp graceful-restart restart-time ${wanted.restartSeconds}
 bgp graceful-restart preserve-fw-state`
  return `log stdout
router bgp ${wanted.asn}
 bgp router-id ${THEIRS.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 coalesce-time 10
${graceful}
 timers bgp 3 ${wanted.holdSeconds}
${neighbor('ipv4')}
${neighbor('ipv6')}
${activate('ipv4')}
${activate('ipv6')}
${wanted.lines?.end ?? '!'}
${wanted.carried === undefined ? '!' : frrRouteMap(wanted.carried)}
`
}

/** GoBGP. Its own routes come by command; its graceful restart needs `-r` to be one. */
export const gobgp: DaemonKind = {
  name: 'GoBGP',
  program: '/usr/bin/gobgpd',
  cannot: {},
  unsaid: ['atomicAggregate', 'extended'],
  prepare(link, wanted) {
    const config = join(link.folder, 'gobgp.toml')
    const restarts = existsSync(config) ? ['-r'] : []
    writeFileSync(config, gobgpConfig(wanted))
    const args = ['-f', config, '-t', 'toml', '--pprof-disable', '--api-hosts', '127.0.0.1:50051']
    return { command: gobgp.program, args: [...args, ...restarts] }
  },
  begin(link, wanted) {
    const words = gobgpWords({ origin: 'IGP', ...wanted.carried })
    const add = (family: 'ipv4' | 'ipv6') => {
      for (const prefix of wanted[family])
        say(link, 'gobgp', 'global', 'rib', 'add', '-a', family, prefix, 'nexthop', THEIRS[family], ...words)
    }
    add('ipv4')
    add('ipv6')
  },
  learned: link =>
    (['ipv4', 'ipv6'] as const).flatMap(family => {
      const table = JSON.parse(say(link, 'gobgp', 'global', 'rib', '-a', family, '-j')) as Record<
        string,
        { 'neighbor-ip'?: string }[]
      >
      return Object.entries(table)
        .filter(([, paths]) => paths.some(path => path['neighbor-ip'] === OURS[family]))
        .map(([prefix]) => prefix)
    }),
  sessions: link => say(link, 'gobgp', 'neighbor'),
}

function gobgpConfig(wanted: Wanted): string {
  const neighbor = (family: 'ipv4' | 'ipv6') => `
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${OURS[family]}"
    peer-as = ${wanted.peerAsn}
    ${wanted.password === undefined ? '' : `auth-password = "${wanted.password}"`}
  [neighbors.timers.config]
    hold-time = ${wanted.holdSeconds}
    keepalive-interval = ${Math.floor(wanted.holdSeconds / 3)}
    connect-retry = 1
    idle-hold-time-after-reset = 1
  [neighbors.transport.config]
    passive-mode = ${wanted.passive === true}
    local-address = "${THEIRS[family]}"
  [neighbors.graceful-restart.config]
    enabled = ${wanted.restartSeconds !== undefined}
    restart-time = ${wanted.restartSeconds ?? 1}
    notification-enabled = ${wanted.restartSeconds !== undefined}
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "${family}-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = ${wanted.restartSeconds !== undefined}
    [neighbors.afi-safis.add-paths.config]
      receive = ${wanted.addPath === true}
      send-max = ${wanted.addPath ? 8 : 0}
`
  return `[global.config]
  as = ${wanted.asn}
  router-id = "${THEIRS.ipv4}"
  local-address-list = ["${THEIRS.ipv4}", "${THEIRS.ipv6}"]
${neighbor('ipv4')}
${neighbor('ipv6')}
${wanted.lines?.end ?? ''}
`
}

export const openbgpdSocket = (link: Link) => join(link.folder, 'bgpd.sock')

/** OpenBGPD's portable build: no FIB on Linux, and nothing is exchanged without an `allow`. */
export const openbgpd: DaemonKind = {
  name: 'OpenBGPD',
  program: '/usr/sbin/bgpd',
  unsaid: ['asPath', 'atomicAggregate', 'aggregator'],
  cannot: {
    md5: 'this build has no TCP MD5 on Linux',
    restart: 'of graceful restart it has only the End-of-RIB marker',
    refresh: '7.7 answers every request with "AID not negotiated", those of BIRD too',
    hurry: 'it stays idle for half a minute after a session',
  },
  prepare(link, wanted) {
    const config = join(link.folder, 'openbgpd.conf')
    writeFileSync(config, openbgpdConfig(link, wanted), { mode: 0o600 })
    mkdirSync('/run/openbgpd', { recursive: true })
    return { command: openbgpd.program, args: ['-d', '-f', config] }
  },
  learned: link =>
    [...say(link, 'bgpctl', '-s', openbgpdSocket(link), 'show', 'rib', 'in').matchAll(/ ([0-9a-f.:]+\/\d+) /g)].map(
      ([, prefix]) => prefix!,
    ),
  sessions: link => say(link, 'bgpctl', '-s', openbgpdSocket(link), 'show', 'neighbor'),
}

function openbgpdConfig(link: Link, wanted: Wanted): string {
  const neighbor = (family: 'ipv4' | 'ipv6') => `neighbor ${OURS[family]} {
	remote-as ${wanted.peerAsn}
	local-address ${THEIRS[family]}
	announce IPv4 ${family === 'ipv4' ? 'unicast' : 'none'}
	announce IPv6 ${family === 'ipv6' ? 'unicast' : 'none'}
${wanted.passive ? '\tpassive\n' : ''}${wanted.password === undefined ? '' : `\ttcp md5sig password ${wanted.password}\n`}}`
  const carried = wanted.carried === undefined ? '' : openbgpdSet(wanted.carried)
  return `AS ${wanted.asn}
router-id ${THEIRS.ipv4}
fib-update no
holdtime ${wanted.holdSeconds}
socket "${openbgpdSocket(link)}"
listen on ${THEIRS.ipv4}
listen on ${THEIRS.ipv6}
${[...wanted.ipv4, ...wanted.ipv6].map(prefix => `network ${prefix} ${carried}`).join('\n')}
${neighbor('ipv4')}
${neighbor('ipv6')}
allow from any
allow to any
`
}

/** ExaBGP. It has no table: what it hears goes, as JSON lines, to a program, here one that writes a file. */
export const exabgp: DaemonKind = {
  name: 'ExaBGP',
  program: '/usr/sbin/exabgp',
  cannot: {
    listen: 'it listens on one address only',
    restart: 'it keeps no routes of a peer',
    refresh: '4.2.21 closes the connection',
  },
  prepare(link, wanted) {
    const config = join(link.folder, 'exabgp.conf')
    const heard = join(link.folder, 'exabgp.heard')
    const script = join(link.folder, 'heard.py')
    writeFileSync(heard, '')
    // it must not end before ExaBGP does, whatever it reads
    writeFileSync(
      script,
      `import sys
out = open('${heard}', 'a', buffering=1)
for line in sys.stdin: out.write(line)
`,
    )
    const ebgp = wanted.asn !== wanted.peerAsn
    // a path that is given goes out as it is
    const carried = wanted.carried && {
      ...wanted.carried,
      asPath: [...(ebgp ? [wanted.asn] : []), ...(wanted.carried.asPath ?? [])],
      localPref: ebgp ? undefined : wanted.carried.localPref,
    }
    const neighbor = (family: 'ipv4' | 'ipv6') => `neighbor ${OURS[family]} {
  router-id ${THEIRS.ipv4}; local-address ${THEIRS[family]}; local-as ${wanted.asn}; peer-as ${wanted.peerAsn};
  hold-time ${wanted.holdSeconds};
  ${wanted.password === undefined ? '' : `md5-password "${wanted.password}";`}
  capability { route-refresh enable; }
  family { ${family} unicast; }
  api { processes [ heard ]; receive { parsed; update; } neighbor-changes; }
  static { ${wanted[family].map(prefix => exabgpRoute({ prefix, ...carried }, THEIRS[family])).join(' ')} }
}`
    writeFileSync(
      config,
      `process heard { run /usr/bin/python3 ${script}; encoder json; }\n${neighbor('ipv4')}\n${neighbor('ipv6')}\n`,
    )
    const env = { 'exabgp.daemon.user': 'root', 'exabgp.daemon.drop': 'false', 'exabgp.api.cli': 'false' }
    const more = { 'exabgp.tcp.bind': '', 'exabgp.log.destination': 'stdout' }
    return { command: exabgp.program, args: [config], env: { ...env, ...more } }
  },
  learned(link) {
    const known = new Set<string>()
    const path = join(link.folder, 'exabgp.heard')
    for (const line of existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : []) {
      const { type, neighbor } = JSON.parse(line) as ExaLine
      if (type === 'state' && neighbor.state === 'down')
        for (const prefix of known)
          if (prefix.includes(':') === neighbor.address.peer.includes(':')) known.delete(prefix)
      const { announce = {}, withdraw = {} } = neighbor.message?.update ?? {}
      for (const list of Object.values(withdraw)) for (const { nlri } of list) known.delete(nlri)
      for (const hops of Object.values(announce))
        for (const list of Object.values(hops)) for (const { nlri } of list) known.add(nlri)
    }
    return [...known]
  },
  sessions: () => '',
}

type ExaLine = {
  type: string
  neighbor: {
    address: { peer: string }
    state?: string
    message?: {
      update?: {
        announce?: Record<string, Record<string, { nlri: string }[]>>
        withdraw?: Record<string, { nlri: string }[]>
      }
    }
  }
}
