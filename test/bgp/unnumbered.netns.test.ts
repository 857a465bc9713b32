// Sessions over link-local addresses only, with IPv4 routes over IPv6 next hops (RFC 8950), against real daemons.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { bird, birdSocket, frr, vtysh } from './daemons.ts'
import { type DaemonKind, type Link, Margay, makeLink, runnable, say, THEIRS, until } from './interop.ts'

const PATIENCE_MS = 90_000
const OURS = ['10.1.0.0/24', '2001:db8:a::/64']
const NEAR = ['10.2.0.0/24', '2001:db8:b::/64']

// its ranges are passive: only a router advertisement shows us that it is there
const birdText = `log stderr all;
router id ${THEIRS.ipv4};
protocol device {}
protocol radv { interface "e0" { min ra interval 3; max ra interval 4; }; }
protocol static { ipv4; route ${NEAR[0]} blackhole; }
protocol static { ipv6; route ${NEAR[1]} blackhole; }
protocol bgp near { local as 65002; neighbor range fe80::/10 as 65001; interface "e0"; direct;
  ipv4 { import all; export where source = RTS_STATIC; extended next hop; };
  ipv6 { import all; export where source = RTS_STATIC; };
}
`

const frrText = `log stdout
router bgp 65002
 bgp router-id ${THEIRS.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor e0 interface remote-as external
 neighbor e0 timers connect 1
 address-family ipv4 unicast
  network ${NEAR[0]}
  neighbor e0 activate
 exit-address-family
 address-family ipv6 unicast
  network ${NEAR[1]}
  neighbor e0 activate
 exit-address-family
`

type Row = { kind: DaemonKind; file: (link: Link) => string; text: string; learned: (link: Link) => string }

const rows: readonly Row[] = [
  {
    kind: bird,
    file: link => join(link.folder, 'bird.conf'),
    text: birdText,
    learned: link => say(link, 'birdc', '-s', birdSocket(link), 'show', 'route', 'where', 'source = RTS_BGP'),
  },
  {
    kind: frr,
    file: link => join(link.folder, 'frr', 'bgpd.conf'),
    text: frrText,
    learned: link =>
      ['ipv4', 'ipv6'].map(family => vtysh(link, `show bgp ${family} unicast neighbors e0 routes`)).join(),
  },
]

for (const { kind, file, text, learned } of rows)
  (runnable(kind) ? test.serial : test.serial.skip)(
    `${kind.name} and we are neighbours by interface alone`,
    async t => {
      t.timeout(4 * PATIENCE_MS)
      await using link = makeLink()
      for (const { name } of [link.ours, link.theirs])
        execFileSync(systemProgram('ip'), ['-n', name, 'addr', 'flush', 'dev', 'e0', 'scope', 'global'])
      const beside = kind.beside?.(link)
      if (beside !== undefined) link.run('theirs', { name: 'beside', ...beside })
      const command = kind.prepare(link, { asn: 65002, peerAsn: 65001, holdSeconds: 90, ipv4: [], ipv6: [] })
      writeFileSync(file(link), text)
      // without the addresses to listen on: there are none
      const args = command.args.filter((word, i) => word !== '-l' && command.args[i - 1] !== '-l')
      const daemon = link.run('theirs', { name: kind.name, ...command, args })
      const neighbor = { interface: 'e0', asn: 'external', extendedNextHop: true, connectRetry: 1 }
      const policy = { import: 'accept', export: 'accept' }
      const neighbors = [{ ...neighbor, ...policy, families: ['ipv4-unicast', 'ipv6-unicast'] }]
      const margay = new Margay(link, { listen: ['[::]:179'], networks: OURS, neighbors })
      const why = () => `${margay.program.output().slice(-3000)}\n${daemon.output().slice(-3000)}`
      for (const prefix of NEAR) {
        const best = async () => (await margay.route(prefix)).candidates.find(c => c.best)
        await until(`we have ${prefix}`, async () => (await best()) !== undefined, why, PATIENCE_MS)
        t.regex((await best())?.attributes.nextHop ?? '', /^fe80::|fe80::/)
      }
      for (const prefix of OURS) await until(`it has ${prefix}`, () => learned(link).includes(prefix), why, PATIENCE_MS)
    },
  )
