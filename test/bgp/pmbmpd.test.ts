// What a collector of others understands of our BMP: pmbmpd of Debian's pmacct, over TCP as it comes. It decodes RFC 7854, 8671 and
// 9069 and writes each message as a line of JSON.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { BmpCollector } from '../../bgp/bmp/collector.ts'
import { MONITORED_TABLES } from '../../bgp/bmp/config.ts'
import { FAMILIES } from '../../bgp/family.ts'
import type { Speaker } from '../../bgp/speaker.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { findSystemProgram, systemProgram } from '../../lib/system-program.ts'
import { ANSWER_MS } from '../slowness.ts'
import { world } from './bmp-station.ts'
import { until } from './interop.ts'
import { settle } from './settle.ts'

const PROGRAM = 'pmbmpd'

/** A line of its log, as far as it is compared. */
type Line = Readonly<Record<string, string | number>>

/** pmbmpd on a port of its own; `lines` is what it has understood so far. */
async function startPmbmpd(t: ExecutionContext): Promise<{ port: number; lines(): Line[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-pmbmpd-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const [config, log] = [join(folder, 'config'), join(folder, 'log')]
    const address = '127.0.0.1'
    writeFileSync(
      config,
      `daemonize: false
bmp_daemon_ip: ${address}
bmp_daemon_port: ${port}
bmp_daemon_max_peers: 4
bmp_daemon_msglog_file: ${log}
bmp_daemon_msglog_output: json
`,
    )
    const child = spawn(systemProgram(PROGRAM), ['-f', config], { stdio: ['ignore', 'pipe', 'pipe'] })
    stopAtEnd(t, child)
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => (said += text))
    await until(
      'pmbmpd listens, or is gone',
      () => said.includes('waiting for BMP data') || child.exitCode !== null,
      () => said,
      ANSWER_MS,
    )
    // somebody else may have taken the port meanwhile
    if (child.exitCode !== null && attempt < 5) continue
    if (child.exitCode !== null) throw new Error(said)
    const lines = () =>
      (existsSync(log) ? readFileSync(log, 'utf8') : '')
        .split('\n')
        .slice(0, -1)
        .map(line => JSON.parse(line) as Line)
    return { port, lines }
  }
}

function stopAtEnd(t: ExecutionContext, child: ChildProcess): void {
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  t.teardown(async () => {
    process.off('exit', kill)
    if (child.exitCode !== null || child.signalCode !== null) return
    kill()
    await once(child, 'exit')
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (typeof address !== 'object' || address === null) throw new Error('no port')
  return address.port
}

/** Routes of one table by prefix, as told up to now: what a collector holds. */
function tableIn(lines: readonly Line[], flags: Line, peer?: string): Map<string, Line> {
  const held = new Map<string, Line>()
  for (const line of lines) {
    if (line['bmp_msg_type'] !== 'route_monitor' || (peer !== undefined && line['peer_ip'] !== peer)) continue
    if (Object.entries(flags).some(([name, value]) => line[name] !== value)) continue
    const prefix = String(line['ip_prefix'])
    if (line['log_type'] === 'withdraw') held.delete(prefix)
    else held.set(prefix, line)
  }
  return held
}

const OUT = { before: { is_out: 1, is_post: 0 }, after: { is_out: 1, is_post: 1 } } as const
const LOC_RIB = { is_loc: 1, is_filtered: 0 } as const

/** What a peer has, with what pmbmpd tells of a route's attributes; it sorts communities. */
function receivedBy(peer: Speaker): Map<string, string> {
  const paths = FAMILIES.flatMap(family => [...peer.rib.dump(family)]).filter(({ peer: from }) => from !== '')
  return new Map(
    paths.map(
      ({
        prefix,
        received: {
          attributes: { asPath = [], communities = [] },
        },
      }) => [prefix, `${asPath.flatMap(({ asns }) => asns).join(' ')} ${communities.map(text).sort().join(' ')}`],
    ),
  )
}

const text = (community: number) => `${community >>> 16}:${community & 0xffff}`

function told(table: ReadonlyMap<string, Line>): Map<string, string> {
  return new Map([...table].map(([prefix, line]) => [prefix, `${line['as_path']} ${line['comms'] ?? ''}`]))
}

const sorted = <T>(map: ReadonlyMap<string, T>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1))

test('pmbmpd understands every message: sessions, all tables and what changes in them, statistics, the ends', async t => {
  if (findSystemProgram(PROGRAM) === undefined) {
    t.log('skipped: there is no pmbmpd on this machine')
    t.pass()
    return
  }
  const hidden = { action: 'reject', match: { operator: 'Equal', cidr: '203.0.114.0/24' } } as const
  const tagged = { action: 'accept', operations: [{ do: 'add-community', value: '65001:7' }] } as const
  const { port, lines } = await startPmbmpd(t)
  const { a, b, c, clock } = await world(t, { toB: { export: [hidden, tagged] } })
  const collector = new BmpCollector(
    {
      ...{ collector: '127.0.0.1', port, name: 'router-a', description: 'margay', statsSeconds: 30 },
      monitor: MONITORED_TABLES,
    },
    { speaker: a, transport: new TcpTransport(), clock },
  )
  t.teardown(() => collector.close())
  a.announce({ prefix: '192.0.2.0/24' })
  a.announce({ prefix: '2001:db8:1::/48', nextHop: '2001:db8::1' })
  c.announce({ prefix: '203.0.113.0/24', communities: [0xfdeb0009], med: 4 })
  c.announce({ prefix: '203.0.114.0/24' })
  b.announce({ prefix: '198.51.100.0/24' })
  await settle()
  collector.start()
  const comes = (what: string, condition: () => boolean) =>
    until(what, condition, () => JSON.stringify(lines(), null, 1), ANSWER_MS)
  const of = (type: string) => lines().filter(line => line['bmp_msg_type'] === type)

  await comes('the tables', () => collector.status().state === 'live' && tableIn(lines(), OUT.before).size === 4)
  t.like(of('init')[0], { bmp_init_info_sysname: 'router-a', bmp_init_info_sysdescr: 'margay' })
  const ups = of('peer_up')
  t.is(ups.length, 3)
  for (const [i, { name, address, asn }] of a.peers().entries())
    t.like(ups[i], { peer_ip: address, peer_asn: asn, peer_type: 0, local_ip: '10.0.0.1', local_port: 179 }, name)
  t.like(ups[2], { peer_type: 3, is_loc: 1, peer_asn: 65001, bgp_id: '10.0.0.1' })

  const held = (peer: string) =>
    FAMILIES.flatMap(family => [...a.rib.dump(family)])
      .filter(path => path.peer === peer)
      .map(({ prefix }) => prefix)
  const compare = async (when: string) => {
    const same = (what: string, got: () => unknown, want: () => unknown) =>
      comes(`${what} ${when}`, () => isDeepStrictEqual(got(), want()))
    const prefixes = (flags: Line, peer?: string) => [...tableIn(lines(), flags, peer).keys()].sort()
    // also what import refuses
    for (const [name, address] of [
      ['b', '10.0.0.2'],
      ['c', '10.0.0.3'],
    ] as const)
      await same(
        'Adj-RIB-In',
        () => prefixes({ is_in: 1, is_post: 0 }, address),
        () => held(name).sort(),
      )
    // of b nothing is accepted
    await same(
      'what is accepted',
      () => prefixes({ is_in: 1, is_post: 1 }),
      () => held('c').sort(),
    )
    await same(
      'Loc-RIB',
      () => prefixes(LOC_RIB),
      () => [...held(''), ...held('c')].sort(),
    )
    const out = (flags: Line, address: string) => sorted(told(tableIn(lines(), flags, address)))
    await same(
      'what b is sent',
      () => out(OUT.after, '10.0.0.2'),
      () => sorted(receivedBy(b)),
    )
    await same(
      'what c is sent',
      () => out(OUT.after, '10.0.0.3'),
      () => sorted(receivedBy(c)),
    )
    // it has no rules
    await same(
      'what c would be sent',
      () => out(OUT.before, '10.0.0.3'),
      () => sorted(receivedBy(c)),
    )
  }
  await compare('at the start')
  t.deepEqual(sorted(told(tableIn(lines(), OUT.before, '10.0.0.2'))), [
    ['192.0.2.0/24', '65001 '],
    ['2001:db8:1::/48', '65001 '],
    ['203.0.113.0/24', '65001 65003 65003:9'],
    ['203.0.114.0/24', '65001 65003 '],
  ])
  t.like(tableIn(lines(), { is_in: 1, is_post: 0 }, '10.0.0.3').get('203.0.113.0/24'), {
    ...{ bgp_nexthop: '10.0.0.3', as_path: '65003', comms: '65003:9', med: 4, origin: 'i', afi: 1, safi: 1 },
  })
  t.is(tableIn(lines(), LOC_RIB).get('2001:db8:1::/48')?.['bgp_nexthop'], '2001:db8::1')

  c.withdraw('203.0.113.0/24')
  c.announce({ prefix: '203.0.115.0/24' })
  await settle()
  await comes('a withdrawal before policy', () => {
    const before = tableIn(lines(), OUT.before, '10.0.0.2')
    return !before.has('203.0.113.0/24') && before.has('203.0.115.0/24')
  })
  await compare('after a change')

  clock.advance(30_000)
  const values = (peer: string, type: number) =>
    of('stats')
      .filter(line => line['peer_ip'] === peer && line['counter_type'] === type)
      .map(line => line['counter_value'])
  // the last of all
  await comes('statistics', () => values('0.0.0.0', 10).length === FAMILIES.length)
  const sent = a.rib.familyCounts('b')
  t.deepEqual(values('10.0.0.3', 7), [a.rib.counts('c')!.received])
  t.deepEqual(values('10.0.0.2', 14), [4])
  t.deepEqual(values('10.0.0.2', 16), [3, 1])
  t.deepEqual(values('10.0.0.2', 15), [a.rib.counts('b')!.announced])
  t.deepEqual(
    values('10.0.0.2', 17),
    FAMILIES.map(family => sent.get(family)!.announced),
  )
  t.deepEqual(values('0.0.0.0', 8), [FAMILIES.reduce((sum, family) => sum + a.rib.selectedCount(family), 0)])
  t.deepEqual(
    values('0.0.0.0', 10),
    FAMILIES.map(family => a.rib.selectedCount(family)),
  )

  a.clear('b', 'hard')
  await comes('the end of a session', () => of('peer_down').length === 1)
  // local system, with the NOTIFICATION
  t.like(of('peer_down')[0], { peer_ip: '10.0.0.2', peer_asn: 65002, reason_type: 1 })
  collector.close()
  const others = () => lines().filter(line => line['bmp_msg_type'] === undefined)
  await comes('the end of all', () => others().at(-1)?.['event_type'] === 'log_close')
  t.is(of('term').length, 1)
  t.like(of('peer_down')[1], { peer_type: 3, reason_type: 6 })
  // nothing that it could not read
  t.is(others().length, 2)
})
