// A speaker behind ours that announces routes with every attribute: ExaBGP, as it takes them as text and so does not share
// a codec with us. It has an address of its own on our side of the link, so that a daemon can reach the next hops.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemProgram } from '../../lib/system-program.ts'
import { type Carried, exabgpRoute } from './carried.ts'
import { exabgp } from './daemons.ts'
import type { Program, TestLink } from './interop.ts'

export const SOURCE = { ipv4: '192.0.2.3', ipv6: '2001:db8:1::3' } as const

/** Gives our side of the link the addresses of `SOURCE`. */
export function addSource(link: TestLink): void {
  for (const [family, length] of [
    ['ipv4', 24],
    ['ipv6', 64],
  ] as const)
    execFileSync(systemProgram('ip'), [
      '-n',
      link.ours.name,
      'addr',
      'replace',
      `${SOURCE[family]}/${length}`,
      'dev',
      'e0',
    ])
}

/** Starts it; `to` are the addresses of its peers, all of them in `peerAsn`. */
export function farSource(
  link: TestLink,
  what: {
    asn: number
    peerAsn: number
    routes: readonly ({ prefix: string } & Carried)[]
    to?: readonly string[]
  },
): Program {
  addSource(link)
  const config = join(link.folder, 'source.conf')
  const neighbor = (peer: string) => {
    const family = peer.includes(':') ? 'ipv6' : 'ipv4'
    const routes = what.routes.filter(({ prefix }) => prefix.includes(':') === peer.includes(':'))
    return `neighbor ${peer} {
  router-id ${SOURCE.ipv4}; local-address ${SOURCE[family]}; local-as ${what.asn}; peer-as ${what.peerAsn}; hold-time 90;
  family { ${family} unicast; }
  static { ${routes.map(route => exabgpRoute(route, SOURCE[family])).join('\n')} }
}`
  }
  writeFileSync(config, (what.to ?? ['192.0.2.1', '2001:db8:1::1']).map(neighbor).join('\n'))
  const env = { 'exabgp.daemon.user': 'root', 'exabgp.daemon.drop': 'false', 'exabgp.api.cli': 'false' }
  const more = { 'exabgp.tcp.bind': '', 'exabgp.log.destination': 'stdout' }
  return link.run('ours', { name: 'source', command: exabgp.program, args: [config], env: { ...env, ...more } })
}
