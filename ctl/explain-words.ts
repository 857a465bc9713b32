// The words of `explain A B [PROTO/PORT]`: what they name, and the questions that come of it. A name may stand for a pod, a node, a
// Service or a machine outside; what could be two things is not guessed.
import { lookup } from 'node:dns/promises'
import type { AskedPacket, End, PacketProtocol, Question, ServiceView } from '../api/explain.ts'
import { type Family, familyOf, parseAddress } from '../lib/ip.ts'
import type { Directory, FoundService, ServicePort } from './ends/ends.ts'
import { Denied, UsageError } from './failure.ts'

/** What a word names: ends by address, or a Service in front of some. `address`: that of the Service which was asked for. */
export type Named = { ends: readonly End[] } | NamedService | NamedNodePort
type NamedService = { service: FoundService; port?: number; address?: string }
/** A port of a node that leads to a Service. */
type NamedNodePort = { ends: readonly End[]; service: FoundService; nodePort: number }

export type Asked = { protocol: PacketProtocol; port?: number } | undefined

/** `tcp/443`, `udp/53`, `icmp`, or a number of IANA. Throws UsageError. */
export function parseProtocol(text: string | undefined): Asked {
  if (text === undefined) return undefined
  const wrong = new UsageError(`${text}: write tcp/PORT, udp/PORT, icmp, or the number of a protocol`)
  const [, word = '', digits] = /^([a-z]+|\d{1,3})(?:\/(\d{1,5}))?$/.exec(text.toLowerCase()) ?? []
  const port = digits === undefined ? undefined : Number(digits)
  if (word === 'tcp' || word === 'udp') {
    if (port === undefined || port === 0 || port > 65_535) throw wrong
    return { protocol: word, port }
  }
  if (port !== undefined) throw wrong
  if (word === 'icmp' || word === 'icmpv6') return { protocol: word }
  if (/^\d+$/.test(word) && Number(word) <= 255) return { protocol: Number(word) }
  throw wrong
}

/** Most backends of a Service that are asked about. */
const MOST_BACKENDS = 8

/** Who a word is. Rejects with UsageError for a word that names nothing, or two things. */
export async function resolve(word: string, namespace: string, directory: Directory): Promise<Named> {
  const address = parseAddress(word)
  if (address !== undefined) {
    const end = await directory.at(address)
    const service = end.role === 'outside' ? await directory.serviceAt(address) : undefined
    return service === undefined ? { ends: [end] } : { service, address }
  }
  const { name, port } = withPort(word)
  const ofService = serviceWords(name, namespace)
  if (ofService !== undefined) {
    const service = await directory.service(ofService.namespace, ofService.name)
    if (service === undefined)
      throw new UsageError(`${word}: there is no Service ${ofService.namespace}/${ofService.name}`)
    if (service.externalName !== undefined)
      throw new UsageError(`${word}: that Service is another name for ${service.externalName}: ask about that one`)
    return { service, ...(port !== undefined && { port }) }
  }
  const [kind, ...rest] = word.split('/')
  if (rest.length > 0) return { ends: await byKind(word, kind!, rest, namespace, directory) }
  const [pod, node] = [await directory.pod(namespace, word), await directory.node(word)]
  if (pod !== undefined && node !== undefined)
    throw new UsageError(`${word} is a pod of namespace ${namespace} and a node: write pod/${word} or node/${word}`)
  const ends = pod ?? node
  if (ends !== undefined) return { ends: withAddress(word, ends) }
  if (word.includes('.')) return { ends: await outside(word, directory) }
  throw new UsageError(
    `${word}: there is no pod of that name in namespace ${namespace} and no node; write NAMESPACE/POD, node/NAME, svc/NAME or an address`,
  )
}

/** As `resolve`, of the other end: a port of a node may be that of a Service. */
export async function resolveTarget(
  word: string,
  asked: Asked,
  namespace: string,
  directory: Directory,
): Promise<Named> {
  const named = await resolve(word, namespace, directory)
  if ('service' in named || asked?.port === undefined || named.ends[0]?.role !== 'node') return named
  const service = await directory.serviceOfNodePort(String(asked.protocol), asked.port)
  return service === undefined ? named : { ends: named.ends, service, nodePort: asked.port }
}

async function byKind(
  word: string,
  kind: string,
  rest: readonly string[],
  namespace: string,
  directory: Directory,
): Promise<readonly End[]> {
  const [name = '', second] = rest
  const isNode = kind === 'node' && second === undefined
  const [where, what] = kind === 'pod' ? (second === undefined ? [namespace, name] : [name, second]) : [kind, name]
  if (kind !== 'pod' && second !== undefined)
    throw new UsageError(`${word}: write NAMESPACE/POD, pod/NAME, node/NAME or svc/NAME`)
  const ends = isNode ? await directory.node(name) : await directory.pod(where, what)
  if (ends === undefined)
    throw new UsageError(`${word}: there is no ${isNode ? `node ${name}` : `pod ${where}/${what}`}`)
  return withAddress(word, ends)
}

function withAddress(word: string, ends: readonly End[]): readonly End[] {
  if (ends.length > 0) return ends
  throw new Denied(`${word} has no address yet: explain NODE says why pods get none on a node`)
}

/** `svc/NAME`, `svc/NAMESPACE/NAME`, `NAME.NAMESPACE.svc`, also with the domain of the cluster behind it. */
function serviceWords(word: string, namespace: string): { namespace: string; name: string } | undefined {
  const [kind, first, second] = word.split('/')
  if (kind === 'svc' || kind === 'service') {
    if (first === undefined || first === '') throw new UsageError(`${word}: write svc/NAME or svc/NAMESPACE/NAME`)
    return second === undefined ? { namespace, name: first } : { namespace: first, name: second }
  }
  const [name, where, svc] = word.replace(/\.$/, '').split('.')
  return svc === 'svc' && name && where ? { namespace: where, name } : undefined
}

function withPort(word: string): { name: string; port?: number } {
  const [, name, digits] = /^(.*):(\d{1,5})$/.exec(word) ?? []
  return name === undefined ? { name: word } : { name, port: Number(digits) }
}

/** By the resolver of this machine, which may know other addresses than pods do. */
async function outside(name: string, directory: Directory): Promise<readonly End[]> {
  let found: { address: string }[]
  try {
    found = await lookup(name, { all: true })
  } catch (error) {
    throw new UsageError(
      `${name} is no pod, node or Service, and this machine finds no address of that name: ${(error as Error).message}`,
    )
  }
  const addresses = [...new Set(found.flatMap(({ address }) => parseAddress(address) ?? []))]
  return Promise.all(addresses.map(each => directory.at(each)))
}

/** One question for each family that both have, and each backend of a Service. Throws UsageError where there is none. */
export function questionsOf(from: Named, to: Named, asked: Asked): Question[] {
  if ('service' in from) throw new UsageError('a Service sends no packets: name one of its pods as the first')
  const pairs =
    'nodePort' in to
      ? plain(from.ends, to.ends, asked).map(each => ({ ...each, service: behindNodePort(to, each.to) }))
      : 'service' in to
        ? throughService(from.ends, to, asked)
        : plain(from.ends, to.ends, asked)
  if (pairs.length === 0) throw new UsageError('the two have no addresses of the same family')
  if (pairs.some(({ from, to }) => from.node === undefined && to.node === undefined))
    throw new UsageError('neither of the two is in this cluster')
  return pairs
}

function plain(from: readonly End[], to: readonly End[], asked: Asked): Question[] {
  const families = ['ipv4', 'ipv6'] as const
  return families.flatMap(family => {
    const [a, b] = [from, to].map(ends => ends.find(({ address }) => familyOf(address) === family))
    return a === undefined || b === undefined ? [] : [questionOf(a, b, asked)]
  })
}

/** The packet goes to the node, and from there to a pod of the Service. */
function behindNodePort({ service, nodePort }: NamedNodePort, { address }: End): ServiceView {
  const port = service.ports.find(each => each.nodePort === nodePort)!
  return { ...viewOf(service, port, address, familyOf(address)), port: nodePort }
}

function throughService(from: readonly End[], to: NamedService, asked: Asked): Question[] {
  const { service } = to
  const wanted = to.port ?? asked?.port
  const ports = service.ports.filter(
    ({ port, protocol }) =>
      (wanted === undefined || port === wanted) && (asked?.port === undefined || protocol === asked.protocol),
  )
  const [port, other] = ports
  const list = service.ports.map(each => `${each.protocol}/${each.port}`).join(', ')
  if (port === undefined)
    throw new UsageError(`Service ${service.namespace}/${service.name} has no such port: it has ${list}`)
  if (other !== undefined)
    throw new UsageError(`Service ${service.namespace}/${service.name} has several ports: add one of ${list}`)
  const addresses = to.address === undefined ? service.addresses : [to.address]
  return from.flatMap(end => {
    const family = familyOf(end.address)
    const address = addresses.find(each => familyOf(each) === family)
    if (address === undefined && addresses.length > 0) return []
    const seen = viewOf(service, port, address ?? '', family)
    const { protocol } = seen
    if (seen.backends.length === 0) {
      // a headless one is a name alone then, which leads to nobody whoever asks
      if (address === undefined && (port.backends.length > 0 || end !== from[0])) return []
      const to: End = { address: address ?? '', role: 'outside' }
      return [{ ...questionOf(end, to, { protocol, port: port.port }), service: seen }]
    }
    return port.backends
      .filter(each => familyOf(each.end.address) === family)
      .slice(0, MOST_BACKENDS)
      .map(backend => ({ ...questionOf(end, backend.end, { protocol, port: backend.port }), service: seen }))
  })
}

/** Throws UsageError for a protocol that is not asked about. */
function viewOf(
  { namespace, name }: FoundService,
  { port, protocol, backends }: ServicePort,
  address: string,
  family: Family,
): ServiceView {
  if (protocol !== 'tcp' && protocol !== 'udp') throw new UsageError(`${protocol} of Services is not known to explain`)
  return {
    ...{ namespace, name, address, port, protocol },
    backends: backends
      .filter(({ end }) => familyOf(end.address) === family)
      .slice(0, MOST_BACKENDS)
      .map(({ port, end }) => ({ address: end.address, port, ...(end.node !== undefined && { node: end.node }) })),
  }
}

function questionOf(from: End, to: End, asked: Asked): Question {
  const family = familyOf(from.address)
  const icmp = family === 'ipv4' ? 'icmp' : 'icmpv6'
  const isIcmp = asked === undefined || asked.protocol === 'icmp' || asked.protocol === 'icmpv6'
  const protocol = isIcmp ? icmp : asked.protocol
  const common: Pick<AskedPacket, 'family' | 'protocol'> = { family, protocol }
  const port = asked?.port
  return {
    packet: {
      ...common,
      source: from.address,
      destination: to.address,
      ...(port !== undefined && { destinationPort: port }),
    },
    back: { ...common, source: to.address, destination: from.address, ...(port !== undefined && { sourcePort: port }) },
    from,
    to,
  }
}
