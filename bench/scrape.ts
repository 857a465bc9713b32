// What one scrape of a whole agent costs in a large cluster: an agent over a kernel and a store in memory, with a session wanted
// with every other node. The processor time of the text, and its size. No peer answers: what costs is how many there are.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NodeAgent } from '../agent/node-agent.ts'
import { metricsPage } from '../agent/status/metrics-page.ts'
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { validate } from '../api/validate.ts'
import { createFakeStore } from '../datastore/fake.ts'
import { FakeWorld } from '../kernel/fake/world.ts'
import { ROUTE_SCOPE } from '../kernel/port/routes.ts'
import { systemClock } from '../lib/clock.ts'
import { silentLog } from '../lib/log.ts'
import type { Row } from './row.ts'

const NODES = 5_000
const SCRAPES = 20

export async function benchScrape(): Promise<Row[]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'margay-scrape-'))
  const store = createFakeStore()
  for (let i = 0; i < NODES; i++) {
    const annotations = { [NODE_ANNOTATION.ipv4Address]: `${addressOf(i)}/16` }
    store.inject('Node', read('Node', { metadata: { name: `n${i}`, annotations } }) as never)
  }
  store.inject('IPPool', read('IPPool', { metadata: { name: 'pool' }, spec: { cidr: '10.0.0.0/8' } }) as never)
  const world = new FakeWorld()
  const kernel = world.kernel()
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: addressOf(0), length: 16, scope: ROUTE_SCOPE.universe })
  const transport = {
    dial: () => new Promise<never>(() => undefined),
    listen: async () => ({ port: 179, setPeerOptions: () => undefined, close: async () => undefined }),
  }
  const agent = new NodeAgent(
    { nodeName: 'n0', dataDir, nodeIp: addressOf(0), routeProtocol: 80 },
    { kernel, store, transport, clock: systemClock, log: silentLog, lost },
  )
  await agent.start()
  while (agent.numbers().peers.length < NODES - 1) await new Promise(resolve => setTimeout(resolve, 100))
  const page = () => metricsPage(agent, { ofProcess: true })
  const first = await page()
  const before = process.cpuUsage()
  for (let i = 0; i < SCRAPES; i++) await page()
  const { user, system } = process.cpuUsage(before)
  await agent.close()
  await store.close()
  rmSync(dataDir, { recursive: true })
  const what = `scrape of an agent, ${NODES} nodes in the mesh`
  return [
    { name: `${what}: processor time`, value: (user + system) / 1000 / SCRAPES, unit: 'ms' },
    { name: `${what}: size`, value: first.length / 1024, unit: 'KiB' },
    { name: `${what}: series`, value: first.match(/^[a-z]/gm)?.length ?? 0, unit: 'series' },
  ]
}

function addressOf(i: number): string {
  return `172.16.${1 + Math.floor(i / 200)}.${1 + (i % 200)}`
}

function read<K extends Kind>(kind: K, object: object): Resource<K> {
  const result = validate(kind, object)
  if (Array.isArray(result)) throw new Error(JSON.stringify(result))
  return result
}

function lost(message: string): never {
  throw new Error(message)
}
