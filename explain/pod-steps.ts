// What a packet meets in a pod and at its interface, on both sides: the differences that CNI CHECK finds, as causes. A difference that
// does not stop packets (a protocol number, a scope) is none. Pure.
import type { End, PodFacts, PodMismatch } from '../api/explain.ts'
import { familyOf } from '../lib/ip.ts'
import {
  absenceOf,
  type Crossing,
  evidence,
  type Finding,
  known,
  nameOf,
  type Place,
  passes,
  stopped,
  unknown,
} from './crossing.ts'
import { ipv6OffAt } from './settings.ts'

type PodStep = (pod: PodFacts, mismatches: readonly PodMismatch[], at: { node: string; end: End }) => Finding

/** Which pod has the address of an end. `other`: the other end, whose address nobody may have here unless it lives here. */
export function endpointStep(place: Place | undefined, end: End, other: End): Finding | undefined {
  if (place === undefined) return undefined
  const { facts, node } = place
  const taker =
    other.role === 'pod' && other.node !== node ? facts?.endpoints.find(each => has(each, other)) : undefined
  if (taker !== undefined && other.node !== undefined && !isOf(taker, other))
    return stopped({
      code: 'AddressTwice',
      node,
      object: { kind: 'Address', name: other.address },
      message: `${podName(taker)} on ${node} has ${other.address}, the address of ${nameOf(other)} on ${other.node}`,
      values: { address: other.address, holder: podName(taker) },
    })
  if (end.role !== 'pod') return undefined
  if (facts === undefined) return unknown(`${node} does not say which pod has ${end.address}`)
  const holders = facts.endpoints.filter(({ addresses }) => addresses.includes(end.address))
  const live = holders.filter(({ state }) => state === 'live')
  if (live.length > 1)
    return stopped({
      code: 'AddressTwice',
      node,
      object: { kind: 'Address', name: end.address },
      message: `${live.map(podName).join(' and ')} on ${node} have the address ${end.address}`,
      values: { address: end.address, holder: podName(live.find(each => !isOf(each, end)) ?? live[1]!) },
    })
  const [pod] = live.length > 0 ? live : holders
  if (pod === undefined) {
    const block = known(facts.blocks)?.find(({ address }) => address === end.address)
    if (block?.owner !== node) return unknown(`no pod of ${node} has ${end.address}`)
    return stopped(
      {
        code: 'PodGone',
        node,
        object: { kind: 'Address', name: end.address },
        message: `no pod has ${end.address}: it lies in block ${block.block} of ${node}, and no pod there has it`,
      },
      evidence(facts.blocks, `block ${block.block} belongs to ${node}`),
    )
  }
  if (!isOf(pod, end)) return unknown(`${podName(pod)} has ${end.address} now, not ${nameOf(end)}`)
  if (pod.state === 'expected') return unknown(`${node} waits for the interface of ${podName(pod)}`)
  if (pod.state === 'leaving') return unknown(`${podName(pod)} is being deleted`)
  return passes(`${podName(pod)} has ${end.address} on ${pod.interface}`)
}

/** A step about the pod that is an end; undefined where the end is none. */
export function podStep(place: Place | undefined, end: End, step: PodStep): Finding | undefined {
  if (end.role !== 'pod' || place === undefined) return undefined
  const pod = place.facts?.endpoints.find(each => each.addresses.includes(end.address) && isOf(each, end))
  if (pod === undefined || pod.state !== 'live') return unknown(`nothing is known of ${nameOf(end)}`)
  const mismatches = known(pod.mismatches)
  if (mismatches === undefined) return unknown(`${podName(pod)} was not looked at: ${absenceOf(pod.mismatches)}`)
  const found = step(pod, mismatches, { node: place.node, end })
  return { ...found, evidence: [...(found.evidence ?? []), ...mismatches.map(each => seen(pod, each))] }
}

export const podLink: PodStep = (pod, mismatches, { node, end }) => {
  const netns = mismatches.find(({ kind }) => kind === 'netns')
  if (netns !== undefined) return unknown(`the namespace of ${podName(pod)} cannot be opened: ${netns.is}`)
  const ofHost = downOrGone(mismatches, 'host')
  if (ofHost !== undefined)
    return stopped({
      code: 'HostLinkDown',
      node,
      object: { kind: 'Link', name: pod.interface },
      message: `${pod.interface}, the interface of ${podName(pod)} on ${node}, is ${ofHost}`,
      values: { device: pod.interface },
    })
  const ofPod = downOrGone(mismatches, 'pod')
  if (ofPod !== undefined) {
    const device = deviceOf(mismatches) ?? 'eth0'
    return stopped({
      code: 'PodLinkDown',
      node,
      object: podObject(pod),
      message: `interface ${device} in ${podName(pod)} is ${ofPod}`,
      values: { device },
    })
  }
  const off = mismatches.find(
    ({ kind, object, is }) => kind === 'sysctl' && object.endsWith('.disable_ipv6') && is === '1',
  )
  if (off !== undefined && familyOf(end.address) === 'ipv6') {
    const where = off.side === 'pod' ? `in ${podName(pod)}` : `on ${node}`
    return stopped({ ...ipv6OffAt(node, off.object), message: `IPv6 is switched off ${where}: ${off.object} is 1` })
  }
  const mac = mismatches.find(({ side, kind, object }) => side === 'pod' && kind === 'link' && object.endsWith(' mac'))
  if (mac !== undefined) return unknown(`${podName(pod)} has the MAC ${mac.is}, not ${mac.should}`)
  return passes('both ends of its interface are up')
}

export const podAddress: PodStep = (pod, mismatches, { node, end }) => {
  const found = mismatches.find(
    ({ side, kind, object }) => side === 'pod' && kind === 'address' && object.startsWith(`${end.address}/`),
  )
  if (found === undefined || found.object.endsWith(' scope')) return passes(`the pod has ${end.address}`)
  if (found.is !== undefined) return unknown(`${end.address} in ${podName(pod)} is ${found.is}`)
  return stopped({
    code: 'PodAddressMissing',
    node,
    object: podObject(pod),
    message: `${podName(pod)} does not have its address ${end.address} any more`,
    values: wordsOf(found.object),
  })
}

export const podRoute: PodStep = (pod, mismatches, { node, end }) => {
  const family = familyOf(end.address)
  const found = mismatches.find(
    ({ side, kind, object, is }) =>
      side === 'pod' &&
      kind === 'route' &&
      familyOf(object.split('/')[0]!) === family &&
      (is === undefined || object.endsWith(' gateway') || object.endsWith(' type')),
  )
  if (found === undefined) return passes('the pod has its routes')
  const route = found.object.replace(/ (gateway|type)$/, '')
  return stopped({
    code: 'PodRouteMissing',
    node,
    object: podObject(pod),
    message: `route ${found.object} in ${podName(pod)} is ${found.is === undefined ? 'gone' : `${found.is}, not ${found.should}`}`,
    values: { route },
  })
}

/** Without an entry a pod asks, and its host's end answers for the gateway: in IPv4 by proxy ARP, in IPv6 as its own address. */
export const podGateway: PodStep = (pod, mismatches, { node, end }) => {
  const family = familyOf(end.address)
  const entry = mismatches.find(
    ({ side, kind, object }) => side === 'pod' && kind === 'neighbour' && familyOf(object.split(' ')[0]!) === family,
  )
  if (entry === undefined) return passes('the pod knows the MAC of its gateway')
  const [should = '?'] = (entry.should ?? '').split(' ')
  const values = { ...wordsOf(entry.object), mac: should }
  const stop = (message: string): Finding =>
    stopped({ code: 'GatewayEntryMissing', node, object: podObject(pod), message, values })
  if (entry.is !== undefined) {
    const isPermanent = entry.is.endsWith(' permanent') && !entry.is.endsWith('not permanent')
    if (entry.is.startsWith(should)) return passes('the pod learned the MAC of its gateway')
    if (isPermanent) return stop(`${podName(pod)} has a wrong MAC of its gateway: ${entry.is}`)
    return unknown(`${podName(pod)} has another MAC of its gateway: ${entry.is}`)
  }
  const answers = mismatches.find(
    ({ side, kind, object }) =>
      side === 'host' && (family === 'ipv4' ? kind === 'sysctl' && object.endsWith('.proxy_arp') : kind === 'address'),
  )
  if (answers === undefined) return passes('the pod has no entry of its gateway, and its node answers when it asks')
  if (family === 'ipv6') return unknown(`${podName(pod)} has no entry of its gateway`)
  return stop(
    `${podName(pod)} has no entry of its gateway, and proxy_arp of ${pod.interface} on ${node} is ${answers.is ?? 'gone'}`,
  )
}

export const podFilter: PodStep = (pod, mismatches, { node, end }) => {
  const found = mismatches.find(
    ({ kind, object, is }) => kind === 'nft' && is === undefined && /^element .* pod_ipv[46] /.test(object),
  )
  if (found?.object.includes(` ${end.address} `))
    return stopped({
      code: 'FilterMissing',
      node,
      object: { kind: 'NftElement', name: found.object },
      message: `${found.object} is missing on ${node}, so what ${podName(pod)} sends is dropped`,
    })
  const other = mismatches.find(({ kind }) => kind === 'nft')
  if (other !== undefined) return unknown(`${other.object} is ${other.is ?? 'missing'} on ${node}`)
  return passes('the filter knows the pod')
}

/** All that a pod must have to get packets, in one step. */
export const podReceives: PodStep = (pod, mismatches, at) => {
  const found = [podLink, podAddress].map(step => step(pod, mismatches, at))
  return (
    found.find(({ verdict }) => verdict === 'stopped') ??
    found.find(({ verdict }) => verdict === 'unknown') ??
    passes(`${podName(pod)} is there with its address`)
  )
}

/** What a pod sends must fit through its end on the node. */
export function podMtu({ near, source, packet }: Crossing): Finding | undefined {
  if (source.role !== 'pod' || near?.facts === undefined) return undefined
  const pod = near.facts.endpoints.find(each => each.addresses.includes(source.address) && isOf(each, source))
  const mtu = known(pod?.mtu)
  if (pod === undefined || mtu?.pod === undefined || mtu.host === undefined) return undefined
  if (mtu.pod <= mtu.host || (packet.length !== undefined && packet.length <= mtu.host)) return undefined
  return stopped(
    {
      code: 'MtuPodLarger',
      node: near.node,
      object: podObject(pod),
      message: `${podName(pod)} sends packets of up to ${mtu.pod} octets, and its end on ${near.node} drops those of more than ${mtu.host}`,
      values: { device: deviceOf(known(pod.mismatches) ?? []) ?? 'eth0', mtu: Math.min(mtu.host, mtu.wanted) },
    },
    evidence(pod.mtu, `MTU ${mtu.pod} in the pod, ${mtu.host} on the node`),
  )
}

function podName({ pod, endpoint }: PodFacts): string {
  return pod === undefined ? endpoint : `${pod.namespace}/${pod.name}`
}

function has({ addresses, state }: PodFacts, { address }: End): boolean {
  return state === 'live' && addresses.includes(address)
}

function podObject({ pod, endpoint }: PodFacts): { kind: string; name: string; namespace?: string } {
  return pod === undefined ? { kind: 'Endpoint', name: endpoint } : { kind: 'Pod', ...pod }
}

/** An end that is named by its address alone is whoever has it. */
function isOf({ pod }: PodFacts, end: End): boolean {
  if (end.pod === undefined || pod === undefined) return true
  return pod.name === end.pod.name && pod.namespace === end.pod.namespace
}

function downOrGone(mismatches: readonly PodMismatch[], side: PodMismatch['side']): 'down' | 'gone' | undefined {
  const found = mismatches.filter(each => each.side === side && each.kind === 'link')
  if (found.some(({ object, is }) => is === undefined && !object.includes(' '))) return 'gone'
  return found.some(({ object, is }) => object.endsWith(' state') && is === 'down') ? 'down' : undefined
}

/** The interface in the pod, as any of the differences names it. */
function deviceOf(mismatches: readonly PodMismatch[]): string | undefined {
  for (const { side, kind, object } of mismatches) {
    if (side !== 'pod') continue
    if (kind === 'link') return object.split(' ')[0]
    const device = / dev (\S+)/.exec(object)?.[1]
    if (device !== undefined) return device
  }
  return undefined
}

/** `10.0.0.5/32 dev eth0` by its words. */
function wordsOf(object: string): { address: string; device: string } {
  const [address = '?', , device = '?'] = object.split(' ')
  return { address, device }
}

function seen(pod: PodFacts, { side, kind, object, is, should }: PodMismatch) {
  const where = side === 'host' ? 'on the node' : `in ${podName(pod)}`
  const what = is === undefined ? 'is missing' : `is ${is}, not ${should ?? 'there'}`
  return evidence(pod.mismatches, `${kind} ${object} ${where} ${what}`)
}
