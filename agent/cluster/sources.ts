// The sources that a Pod, or its Namespace for Pods that say nothing, lets it send under beside its own addresses
// (`cni.projectcalico.org/allowedSourcePrefixes`), a list of CIDRs in JSON. Pure. Unlike with other annotations nothing of one that
// makes no sense counts: who wrote it may have meant less than what can be read.
import { POD_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'
import { addressBits, contains, familyOf, formatCidr, parseAddress, parseCidr } from '../../lib/ip.ts'
import { listOf, shown } from './json-list.ts'

const ANNOTATION = POD_ANNOTATION.allowedSources
/** CIDRs of one pod. */
const MOST = 64
/** Characters that are read: four times as many as `MOST` of the longest CIDRs have. */
const MOST_CHARACTERS = 16_384
/**
 * What the pod filter or the kernel lets through as no source: RFC 1122 §3.2.1.3, RFC 4291 §2.5.2 to §2.5.6 and §2.7. An IPv4 address
 * within IPv6 stands in sockets, not in packets.
 */
const NO_SOURCES = [
  ...['127.0.0.0/8', '224.0.0.0/4', '255.255.255.255/32'],
  ...['::/128', '::1/128', '::ffff:0.0.0.0/96', 'fe80::/10', 'ff00::/8'],
]

/** `cidrs` in canonical text; undefined where none is asked for, or what is cannot be read. An empty text is none, `[]` is one. */
export function podSources(
  { metadata }: Resource<'Pod'>,
  of?: Resource<'Namespace'>,
): { cidrs?: readonly string[]; told?: Condition } {
  const { name, namespace = '' } = metadata
  const [own, ofNamespace] = [metadata, of?.metadata].map(each => each?.annotations?.[ANNOTATION]?.trim() ?? '')
  const text = own || ofNamespace || ''
  if (text === '') return {}
  const read = cidrsOf(text)
  if (typeof read === 'string') {
    const cause = {
      object: own ? { kind: 'Pod' as const, namespace, name } : { kind: 'Namespace' as const, name: namespace },
      reason: 'Invalid' as const,
      message: `${ANNOTATION}: ${read}; none of it counts, and ${own ? 'the pod sends under its own addresses' : 'its pods send under their own addresses'} alone`,
      remedy: `write a list of up to ${MOST} CIDRs in JSON, such as ["198.51.100.0/24", "2001:db8::/64"], or take the annotation away; pods run`,
    }
    return { told: broken('SourcesAllowed', cause) }
  }
  return read.length === 0 ? {} : { cidrs: read }
}

/** The CIDRs, or why they cannot be read. */
function cidrsOf(text: string): string[] | string {
  const list = listOf(text, { characters: MOST_CHARACTERS, items: MOST, names: 'CIDRs' })
  if (typeof list === 'string') return list
  const cidrs = new Set<string>()
  for (const each of list) {
    if (typeof each !== 'string') return `${kindOf(each)} is no CIDR`
    const whole = parseAddress(each)
    const given = whole === undefined ? each : `${whole}/${addressBits(familyOf(whole))}`
    const parsed = parseCidr(given)
    if (parsed === undefined) return `${shown(JSON.stringify(each))} is no CIDR`
    if (parsed.address !== parseAddress(given.split('/')[0]!)) return `${shown(given)} has bits behind its length`
    const cidr = formatCidr(parsed)
    if (NO_SOURCES.some(none => contains(none, cidr))) return `${shown(given)} is no source of packets that pass`
    cidrs.add(cidr)
  }
  return [...cidrs]
}

/** Of a list or an object no more: to write one can fail, by its depth or by a `toString` of its own. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' && value !== null ? 'an object' : String(value)
}
