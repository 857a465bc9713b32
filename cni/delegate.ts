// Addresses by another plugin (SPEC 1.1.0, section 4): which plugin a configuration names, and the result that it printed. Pure;
// what is made of it is in delegate-work.ts.
import { contains, type Family, familyOf, isHostAddress, isLinkLocal, isLoopback } from '../lib/ip.ts'
import { jsonFault } from '../lib/json-fault.ts'
import { CNI_CODE, CniError } from './error.ts'
import { badField, field, isObject, typed } from './fields.ts'
import { IPAM_PROGRAM } from './keys.ts'
import { parseResult } from './result.ts'

/** What the other plugin gave: at most one address of each family, canonical, without length. */
export type Delegated = { addresses: readonly string[]; dns?: Readonly<Record<string, unknown>> }

const OWN: readonly string[] = ['', 'margay', IPAM_PROGRAM, 'calico-ipam']
const DHCP = 'dhcp'
/** A file's name; plugin.c takes no other. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** The other plugin that `ipam.type` names; undefined where addresses are ours. Throws `CniError` where it cannot be one. */
export function delegateOf(ipam: Record<string, unknown>): string | undefined {
  const type = typed(ipam, 'type', 'text') ?? ''
  if (OWN.includes(type)) return undefined
  if (type === DHCP)
    throw badField(
      'ipam.type',
      type,
      'another plugin: a pod’s interface is routed, and no DHCP server of a LAN hears it',
    )
  if (!NAME.test(type)) throw badField('ipam.type', type, 'absent, "margay", "calico-ipam" or the name of a plugin')
  return type
}

/** The same for verbs that a bad configuration must not hold back: what ADD refuses has given nothing. */
export function delegateIfAny(json: Record<string, unknown>): string | undefined {
  const ipam = field(json, 'ipam')
  const type = isObject(ipam) ? field(ipam, 'type') : undefined
  return typeof type === 'string' && ![...OWN, DHCP].includes(type) && NAME.test(type) ? type : undefined
}

/** The result of another plugin. Throws `CniError`, which names it. */
export function parseDelegated(
  text: string,
  { delegate, cniVersion }: { delegate: string; cniVersion: string },
): Delegated {
  const wrong = (why: string, options?: ErrorOptions): CniError =>
    new CniError(
      CNI_CODE.decode,
      `what ${delegate} gave cannot be used: ${why}`,
      `its configuration below ipam must lead to one address of a family, or of each; ${delegate} was told to free what it gave`,
      options,
    )
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw wrong(`its answer ${jsonFault(error as Error)}`)
  }
  try {
    const { ips, whole } = parseResult(json, cniVersion)
    const addresses = ips.map(({ address }) => address.replace(/\/.*/, ''))
    const families = new Set(addresses.map(familyOf))
    if (addresses.length === 0) throw wrong('it has no address')
    if (families.size < addresses.length) throw wrong(`it has two addresses of one family: ${addresses.join(', ')}`)
    const unfit = addresses.find(address => !isPodAddress(address))
    if (unfit !== undefined) throw wrong(`no pod can have ${unfit}`)
    const { dns } = whole
    return { addresses, ...(isObject(dns) && Object.keys(dns).length > 0 && { dns }) }
  } catch (error) {
    if (error instanceof CniError && !error.message.startsWith('prevResult')) throw error
    throw wrong((error as Error).message.replace('prevResult', 'its result'), { cause: error })
  }
}

/** IPv4 that counts on one link alone (RFC 3927), which also the gateway of pods is from. */
const LINK_LOCAL = '169.254.0.0/16'

/** Whether packets to an address can reach a pod over routes. */
function isPodAddress(address: string): boolean {
  if (!isHostAddress(address) || isLoopback(address) || isLinkLocal(address)) return false
  return familyOf(address) === 'ipv6' || !contains(LINK_LOCAL, address)
}

const POD_CIDR = { usePodCidr: 'ipv4', usePodCidrIPv6: 'ipv6' } as const

/** Of which families a configuration wants the range of the node. */
export function podCidrsIn(ipam: unknown): Family[] {
  if (Array.isArray(ipam)) return ipam.flatMap(podCidrsIn)
  if (isObject(ipam)) return Object.values(ipam).flatMap(podCidrsIn)
  return typeof ipam === 'string' && Object.hasOwn(POD_CIDR, ipam) ? [POD_CIDR[ipam as keyof typeof POD_CIDR]] : []
}
