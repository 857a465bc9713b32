// The real program against a real API server, a socket that answers as an agent does, and margay-bgp's own routes.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { controlRoutes } from '../../agent/bgp-control.ts'
import { serveSocket } from '../../agent/socket/server.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { openStore } from '../../datastore/kube.ts'
import { asJson, type HttpRoute, send } from '../../lib/http-routes.ts'
import { silentLog } from '../../lib/log.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { aBlock, aNode, aPool } from '../datastore/objects.ts'
import { type Run, runCtl } from './run.ts'

/** Serves `routes` on a socket until the test ends, and runs the program with that socket. */
async function serve(t: ExecutionContext, routes: Readonly<Record<string, HttpRoute>>) {
  const dir = mkdtempSync(join(tmpdir(), 'margayctl-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'agent.sock')
  const socket = await serveSocket(path, routes, silentLog)
  t.teardown(() => socket.close())
  return (...args: string[]): Promise<Run> => runCtl([...args, '--socket', path])
}

const status = { node: 'n1', ready: true, conditions: [], peers: [], blocks: [], later: 'unknown fields pass' }

test("node status prints the agent's whole answer as JSON, and ends with 1 when the node is not ready", async t => {
  let ready = true
  const ctl = await serve(t, { 'GET /status': asJson(() => ({ ...status, ready })) })
  const fine = await ctl('node', 'status', '-o', 'json')
  t.like(fine, { code: 0, err: '' })
  t.deepEqual(JSON.parse(fine.out), status)
  ready = false
  t.deepEqual(await ctl('node', 'status'), { code: 1, out: 'node n1 is not ready\n\nNo BGP peers.\n', err: '' })
})

test("an agent's sessions are printed in the JSON of openconfig-bgp, whole", async t => {
  const told = {
    'openconfig-bgp:neighbors': { neighbor: [{ 'neighbor-address': '192.0.2.2', timers: { state: {} } }] },
  }
  const ctl = await serve(t, { 'GET /bgp/openconfig': asJson(() => told) })
  const { code, out } = await ctl('bgp', 'peers', '-o', 'openconfig')
  t.is(code, 0)
  t.deepEqual(JSON.parse(out), told)
  t.like(await ctl('bgp', 'route', '203.0.113.0/24', '-o', 'openconfig'), { code: 2 })
})

test('events come the newest last', async t => {
  const object = { kind: 'Node', name: 'n1' }
  const event = (at: string) => ({ at, type: 'Started', object, reason: 'Started', message: '' })
  const ctl = await serve(t, {
    'GET /events': asJson(query => [event('3'), event('2')].slice(0, Number(query.get('count')))),
  })
  const { out } = await ctl('events', '-o', 'json', '--count', '2')
  t.deepEqual(
    JSON.parse(out).events.map(({ at }: { at: string }) => at),
    ['2', '3'],
  )
  t.like(await ctl('events', '--count', '0'), { code: 2 })
})

test('log levels are shown and set by room, a level alone is for all rooms, and ROOM= takes one back', async t => {
  const asked: string[] = []
  const levels = [{ room: 'bgp', level: 'debug', from: 'request' }]
  const ctl = await serve(t, {
    'GET /log-level': asJson(() => levels),
    'POST /log-level': (_request, response, query) => {
      asked.push(`${query.get('room')}=${query.get('level')}`)
      send(
        response,
        query.get('level') === 'loud' ? 400 : 200,
        query.get('level') === 'loud' ? { error: 'no' } : levels,
      )
    },
  })
  t.is((await ctl('node', 'log-level')).out, 'ROOM  LEVEL  FROM\nbgp   debug  request\n')
  t.like(await ctl('node', 'log-level', 'bgp=debug', 'error', 'felix=', '-o', 'json'), { code: 0, err: '' })
  t.deepEqual(asked, ['bgp=debug', '=error', 'felix='])
  t.like(await ctl('node', 'log-level', 'bgp=loud'), { code: 1 })
})

test("what margay-bgp's control socket answers is understood, and its refusal is an answer of no", async t => {
  const speaker = new Speaker(
    { asn: 65001, routerId: '192.0.2.1' },
    { transport: new MemoryNetwork().host('192.0.2.1') },
  )
  t.teardown(() => speaker.close())
  speaker.announce({ prefix: '203.0.113.0/24', encapsulations: [8] })
  speaker.setPeer({ name: 'b', address: '192.0.2.2', asn: 65002, passive: true })
  const plan = {
    resets: [],
    added: ['c'],
    removed: [],
    changed: [],
    multipath: false,
    networks: { announced: [], withdrawn: [] },
  }
  const ctl = await serve(t, controlRoutes({ speaker, reload: async () => plan }))

  t.regex((await ctl('bgp', 'peers')).out, /^192\.0\.2\.2 +configured +Active .* never-tried/m)
  const { code, out } = await ctl('bgp', 'peers', '-o', 'openconfig')
  t.is(code, 0)
  const { neighbor } = JSON.parse(out)['openconfig-bgp:neighbors']
  t.like(neighbor[0], { 'neighbor-address': '192.0.2.2', state: { description: 'b', 'session-state': 'ACTIVE' } })
  const route = await ctl('bgp', 'route', '203.0.113.7/24', '-o', 'wide')
  t.is(route.code, 0, route.err)
  t.regex(route.out, /> +this speaker .* encap:8 +best: the only one/)
  t.deepEqual(await ctl('bgp', 'route', '198.51.100.0/24'), {
    code: 1,
    out: '198.51.100.0/24: nobody announces it\n',
    err: '',
  })
  t.is((await ctl('bgp', 'clear', 'b', '--soft-in')).out, 'peer b is asked for its routes again\n')
  t.is((await ctl('bgp', 'reload', '--dry-run')).out, 'peer c is new\n')
  const unknown = await ctl('bgp', 'clear', 'x')
  t.like(unknown, { code: 1, out: '' })
  t.regex(unknown.err, /none called x/)
  const wrong = await ctl('events')
  t.is(wrong.code, 2)
  t.regex(wrong.err, /give the socket of margay-node with --socket/)
})

test('a socket that fails or is not understood is 3, and the message says what to do', async t => {
  const ctl = await serve(t, {
    'GET /status': asJson(() => ({ node: 'n1' })),
    'GET /events': (_request, response) => send(response, 500, { error: 'disk full' }),
  })
  const old = await ctl('node', 'status')
  t.is(old.code, 3)
  t.regex(old.err, /Use the margayctl of the same version/)
  const failed = await ctl('events')
  t.is(failed.code, 3)
  t.regex(failed.err, /disk full.*log/)
})

test('a socket that is missing, or that nobody serves, is 3 with a remedy', async t => {
  const missing = await runCtl(['bgp', 'peers', '--socket', '/nowhere/agent.sock'])
  t.is(missing.code, 3)
  t.regex(missing.err, /no socket \/nowhere\/agent\.sock\. Is margay-node running/)
  const dir = mkdtempSync(join(tmpdir(), 'margayctl-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  writeFileSync(join(dir, 'file'), '')
  const file = await runCtl(['bgp', 'peers', '--socket', join(dir, 'file')])
  t.is(file.code, 3)
  t.regex(file.err, /nobody answers/)
})

test('ipam show and ipam check read the API server', async t => {
  const server = await startApiServer()
  t.teardown(() => server.close())
  const store = openStore({ server: server.url, token: server.token })
  t.teardown(() => store.close())
  const attributes = [{ handle_id: 'h', secondary: { pod: 'web' } }]
  await store.create('IPPool', aPool('p1'))
  await store.create('Node', aNode('n1'))
  await store.create('IPAMBlock', aBlock('10.244.0.8/31', { allocations: [0, null], unallocated: [1], attributes }))
  await store.create('IPReservation', { metadata: { name: 'r' }, spec: { reservedCIDRs: ['10.244.1.0/30'] } })
  const kubeconfig = kubeconfigFor(server)
  const ctl = (...args: string[]) => runCtl([...args, '--kubeconfig', kubeconfig])

  t.regex(
    (await ctl('ipam', 'show', '--show-blocks')).out,
    /^Block +10\.244\.0\.8\/31 +2 +1 \(50%\) +0 \(0%\) +1 \(50%\)$/m,
  )
  const pools = JSON.parse((await ctl('ipam', 'show', '-o', 'json')).out)
  t.deepEqual(pools, {
    pools: [{ name: 'p1', cidr: '10.244.0.0/16', total: 65536, used: 1, reserved: 4, free: 65531 }],
    forecast: {
      pools: [{ pool: 'p1', gives: true, left: 65469, blocks: 1023, next: { node: 'n1', pods: 1 } }],
    },
  })
  t.regex((await ctl('ipam', 'show')).out, /\n\nFORECAST .*\nIP Pool p1 +1 pod on n1 +65469 pods +1023\n$/)
  t.like(await ctl('ipam', 'show', '--ip=10.244.0.8'), { code: 0 })
  t.like(await ctl('ipam', 'show', '--ip=10.244.0.9'), { code: 1 })
  t.like(await ctl('ipam', 'show', '--ip=cat'), { code: 2 })
  t.deepEqual(JSON.parse((await ctl('ipam', 'show', '--show-borrowed', '-o', 'json')).out), {
    ...{ borrowed: [], unclassified: 1 },
  })
  t.like(await ctl('ipam', 'show', '--show-borrowed', '--show-blocks'), { code: 2 })
  t.like(await ctl('ipam', 'check'), {
    code: 0,
    out: 'nothing is wrong with 1 pool, 1 block and 1 address; none of 1 node was asked\n',
  })
  await store.delete('Node', 'n1')
  const { code, out } = await ctl('ipam', 'check')
  t.is(code, 1)
  t.regex(out, /^IPAMBlock 10-244-0-8-31 +belongs to node n1, which is not there +margay-controllers frees it/m)
})

test('the version is that of the package', async t => {
  t.regex((await runCtl(['version'])).out, /^Client Version: +\d+\.\d+\.\d+\n/)
})
