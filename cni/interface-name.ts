// Names of interfaces on the host and keys of the allocator. They must be unique on a node.
import { createHash } from 'node:crypto'
import type { Attachment, PodName } from './request.ts'

/** What the names of the pods' interfaces on the host begin with: operators look for it with `ip`. */
export const INTERFACE_PREFIX = 'cali'

/**
 * `cali` + 11 hex digits of SHA-1 over `namespace.pod`, without Kubernetes over `containerID.ifname`, with the network's
 * name before it where that is given.
 */
export function hostInterfaceName(attachment: Attachment, pod?: PodName, network?: string): string {
  const ofContainer = network === undefined ? attachmentKey(attachment) : handleOf(network, attachment)
  const of = pod === undefined ? ofContainer : `${pod.namespace}.${pod.name}`
  return `${INTERFACE_PREFIX}${createHash('sha1').update(of).digest('hex').slice(0, 11)}`
}

function attachmentKey({ containerID, ifname }: Attachment): string {
  return `${containerID}.${ifname}`
}

/** Every name that the host side of an attachment may have, in the order in which they are tried. */
export function hostInterfaceNames(network: string, attachment: Attachment, pod?: PodName): string[] {
  return [
    hostInterfaceName(attachment, pod),
    // a second interface of the same container, and the same interface in another network
    hostInterfaceName(attachment),
    hostInterfaceName(attachment, undefined, network),
  ]
}

/**
 * The allocator's key for an interface: `network.container.interface`. Dots of a container's id or an interface's name are
 * written in another way, or two attachments could have one key and get one address.
 */
export function handleOf(network: string, { containerID, ifname }: Attachment): string {
  return `${network}.${withoutDots(containerID)}.${withoutDots(ifname)}`
}

/** What a handle is the key of; undefined for what is none, as handles of earlier versions with more dots. */
export function parseHandle(handle: string): (Attachment & { network: string }) | undefined {
  const parts = handle.split('.')
  const [containerID, ifname] = parts.splice(-2).map(withDots)
  if (parts.length === 0 || containerID === undefined || ifname === undefined) return undefined
  return { network: parts.join('.'), containerID, ifname }
}

const ALIAS_PREFIX = 'margay:'
/** The kernel takes no more bytes (IFALIASZ). */
const LONGEST_ALIAS = 255

/** What an interface says in its alias on the host: for which handle it was made. Undefined where that is too long. */
export function aliasOf(handle: string): string | undefined {
  const alias = `${ALIAS_PREFIX}${handle}`
  return Buffer.byteLength(alias) > LONGEST_ALIAS ? undefined : alias
}

/** The handle that an interface was made for; undefined where it does not say. */
export function madeFor({ alias }: { alias?: string }): string | undefined {
  return alias?.startsWith(ALIAS_PREFIX) ? alias.slice(ALIAS_PREFIX.length) : undefined
}

function withoutDots(name: string): string {
  return name.replace(/[%.]/g, sign => (sign === '.' ? '%2e' : '%25'))
}

function withDots(name: string): string {
  return name.replace(/%2e|%25/g, code => (code === '%2e' ? '.' : '%'))
}
