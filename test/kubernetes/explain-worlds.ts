// What cases of `explain` take from the cluster for a while, and give back whatever happens.
import assert from 'node:assert/strict'
import { patchWords } from '../../lab/kubernetes/objects.ts'
import { until } from '../../lab/program.ts'
import { systemProgram } from '../../lib/system-program.ts'
import type { Cluster } from './case.ts'
import { broken, rolledOut } from './observe.ts'

/** A node without the rules of kube-proxy, which is stopped so that it does not write them again. */
export async function withoutProxyRules<T>({ lab }: Cluster, node: string, work: () => Promise<T>): Promise<T> {
  const machine = lab.machine(node)
  await machine.stop('kube-proxy')
  const remove =
    lab.proxy === 'nftables'
      ? [systemProgram('nft'), 'delete', 'table', 'ip', 'kube-proxy']
      : [systemProgram('iptables'), '-t', 'nat', '-F', 'KUBE-SERVICES']
  try {
    const { code, stderr } = await machine.run(remove)
    assert.equal(code, 0, stderr)
    return await work()
  } finally {
    await lab.startProxy(node)
  }
}

export async function withoutDns<T>({ lab }: Cluster, work: () => Promise<T>): Promise<T> {
  const scale = (replicas: number) =>
    lab.must(['scale', 'deployment/coredns', '-n', 'kube-system', `--replicas=${replicas}`])
  await scale(0)
  try {
    return await work()
  } finally {
    await scale(1)
    await rolledOut(lab, 'coredns', { namespace: 'kube-system' })
  }
}

export async function withTheAgentAway<T>({ margay }: Cluster, node: string, work: () => Promise<T>): Promise<T> {
  await margay.keepAway(node)
  try {
    return await work()
  } finally {
    await margay.bringBack(node)
  }
}

const POOL = 'default-ipv4-ippool'

/** The only pool is switched off: no pod gets an address. */
export async function withoutPool<T>(cluster: Cluster, work: () => Promise<T>): Promise<T> {
  const { lab } = cluster
  const set = (disabled: boolean) => lab.must(patchWords(`ippool/${POOL}`, { spec: { disabled } }))
  await set(true)
  try {
    return await work()
  } finally {
    await set(false)
    const isBack = async () => (await broken(cluster, 'n1'))?.said.some(each => /^PoolsUsable/.test(each)) === false
    assert.ok(await until(isBack, 30_000, 500), 'n1 does not take the pool again')
  }
}

/** The interface of a node to its LAN has this policy for what is forwarded, and lets all else pass. */
export async function withHostEndpoint<T>(
  { lab }: Cluster,
  node: string,
  ingress: readonly object[],
  work: (policy: string) => Promise<T>,
): Promise<T> {
  const name = 'explained-host'
  const made = (kind: string, metadata: object, spec: object) => ({
    ...{ apiVersion: 'projectcalico.org/v3', kind, metadata: { name, ...metadata } },
    spec,
  })
  const selector = `margay-test == '${name}'`
  const objects = [
    made(
      'HostEndpoint',
      { labels: { 'margay-test': name } },
      {
        ...{ node, interfaceName: lab.node(node).uplink, profiles: ['projectcalico-default-allow'] },
      },
    ),
    made(
      'GlobalNetworkPolicy',
      {},
      {
        ...{ selector, applyOnForward: true, types: ['Ingress'], order: 10 },
        ingress: [...ingress, { action: 'Allow' }],
      },
    ),
  ]
  try {
    await lab.apply(objects)
    return await work(name)
  } finally {
    for (const what of [`globalnetworkpolicy/${name}`, `hostendpoint/${name}`])
      await lab.must(['delete', what, '--ignore-not-found'])
  }
}
