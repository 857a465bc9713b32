// Services of type LoadBalancer get their addresses from a pool of this cluster, and keep them over a change of who leads.
import assert from 'node:assert/strict'
import { until } from '../../lab/program.ts'
import type { Family } from '../../lib/ip.ts'
import type { Case, Cluster } from './case.ts'

const POOL = {
  ipv4: { cidr: '198.51.100.0/28', blockSize: 30 },
  ipv6: { cidr: '2001:db8:53::/124', blockSize: 126 },
} as const

const pool = (family: Family) => ({
  apiVersion: 'projectcalico.org/v3',
  kind: 'IPPool',
  metadata: { name: 'for-services' },
  spec: { ...POOL[family], allowedUses: ['LoadBalancer'], nodeSelector: 'all()' },
})
const NAMESPACE = ['-n', 'kube-system']
/** A leader that ends gives its lease back; one that is killed is followed after 40 s. */
const LED_MS = 60_000

const service = (family: Family, name: string, port: number) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, annotations: { 'margay.io/AllowSharedIP': 'web' } },
  spec: {
    ...{ type: 'LoadBalancer', loadBalancerClass: 'margay', ipFamilies: [family === 'ipv4' ? 'IPv4' : 'IPv6'] },
    ...{ selector: { app: name }, ports: [{ port }] },
  },
})

const given = (family: Family): Case => ({
  title: `a Service of type LoadBalancer gets an address${family === 'ipv6' ? ' of IPv6' : ''}, another one shares it, and both keep it when the leader goes`,
  short: true,
  ipv6: family === 'ipv6',
  async run(cluster) {
    const { lab } = cluster
    try {
      await lab.apply([pool(family), service(family, 'lb-first', 80), service(family, 'lb-second', 81)])
      const address = await addressOf(cluster, 'lb-first')
      assert.equal(await addressOf(cluster, 'lb-second'), address)
      const leader = await holder(cluster)
      await lab.must(['delete', 'pod', '-l', 'app.kubernetes.io/name=margay-controllers', ...NAMESPACE])
      const isAnother = async () => ![leader, ''].includes(await holder(cluster))
      assert.ok(await until(isAnother, LED_MS, 500), 'nobody else leads')
      // the new leader works: what the first one had goes on with the second
      await lab.must(['delete', 'service/lb-first'])
      await lab.apply([service(family, 'lb-third', 80)])
      assert.equal(await addressOf(cluster, 'lb-third'), address)
      assert.equal(await addressOf(cluster, 'lb-second'), address)
      return `${address}, led by ${await holder(cluster)} after ${leader}`
    } finally {
      await lab.must(['delete', 'service', '--ignore-not-found', 'lb-first', 'lb-second', 'lb-third'])
      // it goes once its last block was given back
      await lab.must(['delete', 'ippool/for-services', '--ignore-not-found', '--timeout=120s'], { limitMs: 130_000 })
    }
  },
})

export const loadBalancerCases: readonly Case[] = [given('ipv4'), given('ipv6')]

async function addressOf({ lab }: Cluster, name: string): Promise<string> {
  let address = ''
  const isThere = async () => {
    const { status } = (await lab.get(`service/${name}`)) as {
      status: { loadBalancer: { ingress?: { ip: string }[] } }
    }
    address = status.loadBalancer.ingress?.[0]?.ip ?? ''
    return address !== ''
  }
  assert.ok(await until(isThere, LED_MS, 500), `${name} has no address`)
  return address
}

/** Who leads. */
async function holder({ lab }: Cluster): Promise<string> {
  const lease = (await lab.get('lease/margay-controllers', ...NAMESPACE)) as { spec: { holderIdentity?: string } }
  return lease.spec.holderIdentity ?? ''
}
