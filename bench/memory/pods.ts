// An agent through the lives of many pods, on a kernel and a store in memory and a clock of its own, and what it keeps of them. Every
// pod has names of its own, which is what a forgotten entry of a map would be under; the journal lies in a folder.
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { NodeAgent } from '../../agent/node-agent.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Kind } from '../../api/kinds.ts'
import { handleCni } from '../../cni/handle.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

/** What the agent has after so many pods: octets of its objects, and of its files. */
export type Sample = { pods: number; heap: number; files: number }

/** Pods that live at a time. */
const LIVING = 20
/** From one pod to the next. */
const APART_MS = 100
/** What rests, or is looked at again, does so for a shorter time. */
const OVER_MS = 600_000
const NODE = 'n0'
const ADDRESS = '192.0.2.11'
const [POLICY_EACH, LIMITS_EACH, FAILING_EACH, CHECK_EACH, GC_EACH] = [3, 5, 7, 10, 100]

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/**
 * Adds and deletes so many pods, and looks every `every` pods. `note` is told each look. `atEnd` is called when the last pod has
 * gone and whatever was kept for a time is over.
 */
export async function watchMemory(
  pods: number,
  every: number,
  note: (sample: Sample) => void,
  atEnd: () => void = () => undefined,
): Promise<Sample[]> {
  const node = await aNode()
  const samples: Sample[] = []
  const look = async (count: number): Promise<void> => {
    node.store.compact() // what the store remembers of them is not the agent's
    await node.pass(1000)
    collectGarbage()
    const sample = { pods: count, heap: heapOctets(), files: octetsOf(node.dataDir) }
    samples.push(sample)
    note(sample)
  }
  for (let i = 0; i < pods; i++) {
    if (i % every === 0) await look(i)
    await node.begin(i)
    if (i >= LIVING) await node.end(i - LIVING)
    if (i % GC_EACH === 0) await node.collect(i)
  }
  await look(pods)
  for (let i = Math.max(0, pods - LIVING); i < pods; i++) await node.end(i)
  for (let i = 0; i < OVER_MS / 1000; i++) await node.pass(1000)
  node.store.compact()
  atEnd()
  await node.close()
  return samples
}

/** Octets for each pod that are there for good: the slope of the second half, by least squares. */
export function slopeOf(samples: readonly Sample[], of: 'heap' | 'files'): number {
  const half = samples.slice(Math.floor(samples.length / 2))
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(half.map(({ pods }) => pods)), mean(half.map(each => each[of]))]
  const over = half.reduce((sum, each) => sum + (each.pods - x) * (each[of] - y), 0)
  return over / half.reduce((sum, { pods }) => sum + (pods - x) ** 2, 0)
}

async function aNode() {
  const dataDir = mkdtempSync(join(tmpdir(), 'margay-memory-'))
  const [store, world, clock] = [createFakeStore(), new FakeWorld(), new ManualClock()]
  const kernel = world.kernel()
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: ADDRESS, length: 24, scope: ROUTE_SCOPE.universe })
  for (const [kind, object] of cluster()) await store.create(kind, object as never)
  const transport = {
    dial: () => new Promise<never>(() => undefined),
    listen: async () => ({ port: 179, setPeerOptions: () => undefined, close: async () => undefined }),
  }
  const lost = (message: string): never => {
    throw new Error(message)
  }
  const agent = new NodeAgent(
    { nodeName: NODE, dataDir, nodeIp: ADDRESS, routeProtocol: 80 },
    { kernel, store, transport, clock, log: silentLog, lost },
  )
  await agent.start()
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms)
    for (let i = 0; i < 3; i++) await store.settled()
  }
  while (!agent.ready()) await pass(APART_MS)
  const call = (verb: string, i: number, more: { netns?: string; conf?: object } = {}) => {
    const env = {
      ...{
        CNI_COMMAND: verb,
        CNI_CONTAINERID: `container-${i}`,
        CNI_NETNS: more.netns ?? netnsOf(i),
        CNI_IFNAME: 'eth0',
      },
      ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-${i}` },
    }
    const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay', ...more.conf })
    return handleCni({ env, stdin }, agent.cni())
  }
  const succeed = async (...of: Parameters<typeof call>): Promise<string> => {
    const { exitCode, stdout } = await call(...of)
    if (exitCode !== 0) throw new Error(`${of[0]} ${of[1]}: ${stdout}`)
    return stdout
  }
  return {
    dataDir,
    store,
    pass,
    /** A pod comes, and each seventh time there is one before it that cannot. */
    async begin(i: number): Promise<void> {
      world.addNetns(netnsOf(i))
      await store.create('Pod', podObject(i) as never)
      if (i % FAILING_EACH === 0) await call('ADD', i, { netns: '/run/netns/gone' })
      const prevResult = JSON.parse(await succeed('ADD', i))
      if (i % CHECK_EACH === 0) await succeed('CHECK', i, { conf: { prevResult } })
      await pass(APART_MS)
    },
    /** A pod goes, as a kubelet does it: twice. */
    async end(i: number): Promise<void> {
      await succeed('DEL', i)
      world.removeNetns(netnsOf(i))
      await succeed('DEL', i)
      await store.delete('Pod', `pod-${i}`, { namespace: 'default' } as never)
    },
    async collect(last: number): Promise<void> {
      const living = Array.from({ length: Math.min(last + 1, LIVING) }, (_, k) => `container-${last - k}`)
      const valid = living.map(containerID => ({ containerID, ifname: 'eth0' }))
      await succeed('GC', last, { conf: { 'cni.dev/valid-attachments': valid } })
      await succeed('STATUS', last)
    },
    async close(): Promise<void> {
      await agent.close()
      await store.close()
      rmSync(dataDir, { recursive: true })
    },
  }
}

function* cluster(): Generator<[Kind, object]> {
  const annotations = { [NODE_ANNOTATION.ipv4Address]: `${ADDRESS}/24` }
  yield ['Node', { metadata: { name: NODE, annotations } }]
  yield ['IPPool', { metadata: { name: 'pool' }, spec: { cidr: '10.244.0.0/16', natOutgoing: true } }]
  yield ['Namespace', { metadata: { name: 'default' } }]
  const from = [{ podSelector: { matchLabels: { app: 'a' } } }]
  const spec = { podSelector: { matchLabels: { app: 'a' } }, ingress: [{ from }], policyTypes: ['Ingress'] }
  yield ['KubernetesNetworkPolicy', { metadata: { name: 'only-a', namespace: 'default' }, spec }]
}

function podObject(i: number): object {
  const annotations = i % LIMITS_EACH === 0 ? { 'qos.projectcalico.org/ingressPacketRate': '1000' } : {}
  const labels = i % POLICY_EACH === 0 ? { app: 'a', pod: `${i}` } : { pod: `${i}` }
  return {
    metadata: { name: `pod-${i}`, namespace: 'default', uid: `uid-${i}`, labels, annotations },
    spec: { nodeName: NODE, containers: [{ name: 'c', image: 'i' }] },
  }
}

/** Without what V8 makes of code, which grows as long as it finds more to compile. */
function heapOctets(): number {
  return getHeapSpaceStatistics()
    .filter(({ space_name }) => !/code|trusted|read_only/.test(space_name))
    .reduce((sum, { space_used_size }) => sum + space_used_size, 0)
}

function netnsOf(i: number): string {
  return `/run/netns/pod-${i}`
}

function octetsOf(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0)
}
