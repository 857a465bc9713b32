// `node status` of all nodes: objects for the agents, which are played here, over a real margay-api.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import anyTest, { type TestFn } from 'ava'
import { NodeStatuses } from '../../agent/node-statuses.ts'
import type { Observed } from '../../agent/status/calico-node-status.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { startStoredFormServer } from '../datastore/stored-form-server.ts'
import { type Run, runHere } from './run.ts'

type Context = {
  ctl: (args: string[], stdin?: string) => Promise<Run>
  agent: (nodeName: string, observed: Partial<Observed>) => void
  close: (() => unknown)[]
}
const test = anyTest as TestFn<Context>

function contextOf(server: { close(): Promise<void> }, kubeconfig: string): Context {
  const close: (() => unknown)[] = [() => server.close()]
  return {
    close,
    ctl: (args, stdin) => runHere([...args, '--kubeconfig', kubeconfig], stdin),
    agent: (nodeName, observed) => {
      const store = openStore({ kubeconfig })
      const observe = (): Observed => ({
        ...{ ready: true, version: '0.1.0', startedMs: 0, address: '192.0.2.1', peers: [], blocks: [], learned: [] },
        ...observed,
      })
      const statuses = new NodeStatuses({ nodeName, store, clock: systemClock, log: silentLog, observe })
      statuses.start()
      close.unshift(() => {
        statuses.close()
        return store.close()
      })
    },
  }
}

test.beforeEach(async t => {
  const server = await startApiServer()
  t.context = contextOf(server, kubeconfigFor(server))
})
test.afterEach.always(async t => {
  for (const end of t.context.close) await end()
})

/** Of a server without TLS. */
function plainKubeconfig(server: string, token: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'margay-stored-form-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const named = { name: 'test', context: { cluster: 'test', user: 'test' }, cluster: { server }, user: { token } }
  const config = {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
    ...{ contexts: [named], clusters: [named], users: [named] },
  }
  writeFileSync(join(folder, 'config'), JSON.stringify(config), { mode: 0o600 })
  return join(folder, 'config')
}

const NODES = ['n1', 'n2', 'n3'].map(name => `kind: Node\nmetadata: {name: ${name}}\n`).join('---\n')

test('every node answers through the API server, who does not is named, and nothing is left behind', async t => {
  const { ctl, agent } = t.context
  await ctl(['apply', '-f', '-'], NODES)
  agent('n1', { peers: [{ address: '192.0.2.2', state: 'Established', sinceMs: 0, origin: 'mesh' }] })
  agent('n2', { ready: false, peers: [{ address: '192.0.2.1', state: 'Active', sinceMs: 0, origin: 'mesh' }] })
  const { code, out } = await ctl(['node', 'status', '--all', '--timeout', '3'])
  t.is(code, 1)
  const [, ...rows] = out.split('\n').map(line => line.split(/ {2,}/))
  t.deepEqual(rows.slice(0, 3), [
    ['n1', 'yes', '1/1'],
    ['n2', 'no', '0/1', '192.0.2.1 is Active'],
    ['n3', 'no answer', 'is its agent running? Look at its pod of margay-node'],
  ])
  t.is((await ctl(['get', 'caliconodestatuses', '-o', 'name'])).out, '')
  const one = await ctl(['node', 'status', 'n1', '-o', 'json'])
  t.is(one.code, 0)
  t.like(JSON.parse(one.out).nodes, [{ node: 'n1', ready: true, established: 1, peers: 1 }])
})

test('a name that no node has is wrong usage, and a cluster without nodes is fine', async t => {
  const { ctl } = t.context
  t.deepEqual(await ctl(['node', 'status', '--all']), { code: 0, out: 'No nodes.\n', err: '' })
  const { code, err } = await ctl(['node', 'status', 'n9'])
  t.is(code, 2)
  t.regex(err, /there is no Node n9/)
})

test('in the stored form an agent is told of the one object that is called as its node, which margayctl makes, over its own and over nobody else’s', async t => {
  const server = await startStoredFormServer()
  const { ctl, agent, close } = contextOf(server, plainKubeconfig(server.url, server.token))
  t.context.close.push(...close)
  await ctl(['apply', '-f', '-'], NODES)
  const kept = (name: string, labels: string): string =>
    `apiVersion: projectcalico.org/v3\nkind: CalicoNodeStatus\nmetadata: {name: ${name}, labels: {${labels}}}\nspec: {node: ${name}, classes: [Agent]}\n`
  await ctl(['apply', '-f', '-'], kept('n2', 'app.kubernetes.io/managed-by: margayctl'))
  await ctl(['apply', '-f', '-'], kept('n3', 'a: b'))
  for (const name of ['n1', 'n2', 'n3']) agent(name, {})
  const { out } = await ctl(['node', 'status', '--all', '--timeout', '5'])
  const [, ...rows] = out.split('\n').map(line => line.split(/ {2,}/))
  t.deepEqual(rows.slice(0, 3), [
    ['n1', 'yes', '0/0'],
    ['n2', 'yes', '0/0'],
    ['n3', 'not asked', 'somebody keeps a CalicoNodeStatus n3: read its status, or delete it'],
  ])
  t.is((await ctl(['get', 'caliconodestatuses', '-o', 'name'])).out.trim(), 'caliconodestatus.projectcalico.org/n3')
  const watches = server.asked.filter(each => /^GET .*caliconodestatuses\?.*watch=true/.test(each))
  const named = watches.filter(each => /fieldSelector=metadata.name%3Dn[123]/.test(each))
  t.is(new Set(named).size, 3, watches.join('; '))
  t.is(watches.length - named.length, 1, 'that of margayctl')
})
