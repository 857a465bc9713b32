// What the reference says of the interfaces of hosts.
import test from 'ava'
import {
  aCalicoPolicy,
  aClusterPolicy,
  aNamespace,
  aNetworkPolicy,
  aNetworkSet,
  aNode,
  aPod,
  aTier,
} from './objects.ts'
import { type HostFlow, judgeHost } from './reference/hosts.ts'
import type { CalicoPolicySpec, WorldObject } from './reference/objects.ts'

function aHost(name: string, interfaceName: string | undefined, fields: Record<string, unknown> = {}): WorldObject {
  const spec = { node: 'n1', ...(interfaceName !== undefined && { interfaceName }), ...fields }
  return { apiVersion: 'projectcalico.org/v3', kind: 'HostEndpoint', metadata: { name, labels: { host: name } }, spec }
}

const BASE = [
  aNode('n1', ['192.0.2.1']),
  aNamespace('x'),
  aPod('x/a', { node: 'n1', addresses: ['10.0.0.1'] }),
  aNetworkSet('office', { zone: 'office' }, ['203.0.113.0/24']),
]

type Way = Pick<HostFlow, 'iif' | 'oif' | 'addresses'> & {
  to?: string
  port?: number
  translatedPort?: number
  protocol?: number
}

function told(
  objects: readonly WorldObject[],
  { to = '192.0.2.1', port = 80, translatedPort, protocol = 6, ...way }: Way,
) {
  const flow = {
    family: 4 as const,
    from: { address: '203.0.113.9' },
    to: { address: to },
    protocol,
    sourcePort: 40_000,
    destinationPort: port,
  }
  const translated = translatedPort === undefined ? undefined : { ...flow, destinationPort: translatedPort }
  const { verdict, reason } = judgeHost({ objects: [...BASE, ...objects] }, { node: 'n1', flow, translated, ...way })
  const why =
    reason.by === 'rule' ? `${reason.name} ${reason.rule}` : reason.by === 'tier' ? `end of ${reason.tier}` : reason.by
  return `${verdict}: ${why}`
}

const policy = (name: string, spec: CalicoPolicySpec) => aCalicoPolicy(name, { selector: 'has(host)', ...spec })
const IN = { iif: 'eth0' }
const OUT = { oif: 'eth0' }
const THROUGH = { iif: 'eth0', oif: 'cali1', to: '10.0.0.1' }

test('an interface without a HostEndpoint is open, one with it and nothing else is shut to the host', t => {
  t.is(told([], IN), 'allow: not judged')
  t.is(told([aHost('h', 'eth0')], IN), 'deny: profile')
  t.is(told([aHost('h', 'eth0')], OUT), 'deny: profile')
  t.is(told([aHost('h', 'eth1')], IN), 'allow: not judged')
  t.is(told([aHost('h', 'eth0', { profiles: ['projectcalico-default-allow'] })], IN), 'allow: profile')
})

test('ports that must stay open do, in both directions', t => {
  t.is(told([aHost('h', 'eth0')], { ...IN, port: 22 }), 'allow: not judged')
  t.is(told([aHost('h', 'eth0')], { ...OUT, port: 22 }), 'deny: profile')
  t.is(told([aHost('h', 'eth0')], { ...OUT, port: 53, protocol: 17 }), 'allow: not judged')
  t.is(told([aHost('h', 'eth0')], { ...IN, port: 68, protocol: 17 }), 'allow: not judged')
})

test('the name of an interface counts before an address of it, and that before all interfaces', t => {
  const hosts = [
    aHost('all', '*'),
    aHost('named', 'eth0'),
    aHost('by-address', undefined, { expectedIPs: ['192.0.2.1'] }),
  ]
  const rules = hosts.map(({ metadata: { name } }) =>
    aCalicoPolicy(name, { selector: `host == '${name}'`, types: ['Ingress'], ingress: [{ action: 'Deny' }] }),
  )
  const addresses = { eth1: ['192.0.2.1'] }
  t.is(told([...hosts, ...rules], { iif: 'eth0', addresses }), 'deny: named 0')
  t.is(told([...hosts, ...rules], { iif: 'eth1', addresses }), 'deny: by-address 0')
  t.is(told([...hosts, ...rules], { iif: 'eth2', addresses }), 'deny: all 0')
})

test('what is forwarded is asked of policies with applyOnForward alone, and is open without one', t => {
  const own = policy('own', { ingress: [{ action: 'Deny' }] })
  const forward = policy('forward', {
    applyOnForward: true,
    ingress: [{ action: 'Allow', source: { selector: "zone == 'office'" }, protocol: 'UDP' }],
  })
  const host = aHost('h', 'eth0')
  t.is(told([host, own], THROUGH), 'allow: not judged')
  t.is(told([host, own, forward], THROUGH), 'deny: end of default')
  t.is(told([host, own, forward], { ...THROUGH, protocol: 17 }), 'allow: forward 0')
  // of what leaves it says nothing
  t.is(told([host, forward], { iif: 'cali1', oif: 'eth0' }), 'allow: not judged')
  // ports that stay open are the host's, not those of pods
  t.is(told([host, own, forward], { ...THROUGH, port: 22 }), 'deny: end of default')
  t.is(told([host, forward], { ...IN, protocol: 17 }), 'allow: forward 0')
})

test('before addresses are translated the port is that on the wire, and the tier does not end', t => {
  const host = aHost('h', 'eth0')
  const early = policy('early', {
    preDNAT: true,
    applyOnForward: true,
    types: ['Ingress'],
    ingress: [
      { action: 'Deny', protocol: 'TCP', destination: { ports: [30_080] } },
      { action: 'Allow', protocol: 'TCP', destination: { ports: [30_081] } },
    ],
  })
  const late = policy('late', { applyOnForward: true, types: ['Ingress'], ingress: [{ action: 'Deny' }] })
  t.is(told([host, early], { ...THROUGH, port: 30_080, translatedPort: 80 }), 'deny: early 0')
  t.is(told([host, early, late], { ...THROUGH, port: 30_081, translatedPort: 80 }), 'allow: early 1')
  t.is(told([host, early, late], { ...THROUGH, port: 80 }), 'deny: late 0')
  t.is(told([host, early], { ...THROUGH, port: 80 }), 'allow: not judged')
})

test('policies that do not track are first, of both directions of the host, and not of what leaves when it is forwarded', t => {
  const host = aHost('h', 'eth0')
  const untracked = policy('untracked', {
    doNotTrack: true,
    applyOnForward: true,
    ingress: [{ action: 'Allow', protocol: 'UDP' }],
    egress: [{ action: 'Deny', protocol: 'UDP' }],
  })
  t.is(told([host, untracked], { ...IN, protocol: 17 }), 'allow: untracked 0')
  t.is(told([host, untracked], { ...OUT, protocol: 17 }), 'deny: untracked 0')
  t.is(told([host, untracked], IN), 'deny: profile')
  t.is(told([host, untracked], { iif: 'cali1', oif: 'eth0', protocol: 17 }), 'allow: not judged')
})

test('tiers end for hosts as they do for pods', t => {
  const host = aHost('h', 'eth0', { profiles: ['projectcalico-default-allow'] })
  const asked = policy('p', { tier: 'first', types: ['Ingress'] })
  t.is(told([host, aTier('first', 1), asked], IN), 'deny: end of first')
  t.is(told([host, aTier('first', 1, 'Pass'), asked], IN), 'allow: profile')
})

test('policies of namespaces and of Kubernetes are not about hosts', t => {
  const host = aHost('h', 'eth0', { profiles: ['projectcalico-default-allow'] })
  const others = [
    aCalicoPolicy('x/p', { ingress: [{ action: 'Deny' }] }),
    aNetworkPolicy('x/q', { podSelector: {} }),
    aClusterPolicy('r', {
      tier: 'Admin',
      priority: 1,
      subject: { namespaces: {} },
      ingress: [{ action: 'Deny', from: [{ new: {} }] }],
    }),
  ]
  t.is(told([host, ...others], IN), 'allow: profile')
})
