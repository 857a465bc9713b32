// The daemons of the interop suite, one row each. Facts about their flags and traps are in the comments of the rows.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DaemonKind, type Link, OURS, say, THEIRS, type Wanted } from './interop.ts'

const birdSocket = (link: Link) => join(link.folder, 'bird.ctl')

/** BIRD 2. Its own error wait is minutes: it is set low, or a test would wait for it. */
export const bird: DaemonKind = {
  name: 'BIRD',
  program: '/usr/sbin/bird',
  prepare(link, wanted) {
    const config = join(link.folder, 'bird.conf')
    writeFileSync(config, birdConfig(wanted))
    return {
      command: bird.program,
      args: ['-f', '-c', config, '-s', birdSocket(link), '-P', join(link.folder, 'bird.pid')],
    }
  },
  learned: link =>
    [...say(link, 'birdc', '-s', birdSocket(link), 'show', 'route').matchAll(/^([0-9a-f.:]+\/\d+)\s.*\[s[46] /gm)].map(
      ([, prefix]) => prefix!,
    ),
  sessions: link => say(link, 'birdc', '-s', birdSocket(link), 'show', 'protocols', 'all'),
  refresh(link) {
    for (const name of ['s4', 's6']) say(link, 'birdc', '-s', birdSocket(link), 'reload', 'in', name)
  },
}

function birdConfig(wanted: Wanted): string {
  const session = (family: 'ipv4' | 'ipv6', name: string) => `
protocol bgp ${name} {
  local ${THEIRS[family]} as ${wanted.asn}; neighbor ${OURS[family]} as ${wanted.peerAsn};
  hold time ${wanted.holdSeconds}; connect delay time 1; connect retry time 1; error wait time 1,2;
  ${wanted.password === undefined ? '' : `password "${wanted.password}";`}
  ${wanted.passive ? 'passive yes;' : ''}
  ${wanted.restartSeconds === undefined ? '' : `graceful restart yes; graceful restart time ${wanted.restartSeconds};`}
  ${family} { import all; export where source = RTS_STATIC; next hop self; ${wanted.addPath ? 'add paths yes;' : ''} };
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
`
}
