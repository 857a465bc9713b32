// Names that are computed or checked. The name of a block is its lock, so every writer must compute the same one; the
// rule is Calico's (libcalico-go/lib/names).

/** An IPAMBlock's name from its CIDR: `10.244.1.0/26` is `10-244-1-0-26`. */
export function blockName(cidr: string): string {
  return cidr.replace(/[.:/]/g, '-')
}

/** Annotation of an IPAMBlock: a node asks its owner to give the empty block back, who does so or takes this out. */
export const BLOCK_WANTED_ANNOTATION = 'margay.io/BlockWanted'

/** A DNS-1123 subdomain, at most 253 characters: what Kubernetes takes as the name of an object. */
export function isObjectName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text)
}

/** A qualified label or annotation name: an optional DNS prefix and `/`, then at most 63 characters. */
export function isQualifiedName(text: string): boolean {
  const slash = text.lastIndexOf('/')
  if (slash >= 0 && !isObjectName(text.slice(0, slash))) return false
  return /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(text.slice(slash + 1))
}

/** A label's value: empty, or at most 63 characters that begin and end with a letter or digit. */
export function isLabelValue(text: string): boolean {
  return text === '' || /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(text)
}

/** The name of a machine's Node object from its host name, as the kubelet makes it: without blanks around it, in lower case. */
export function nodeName(hostname: string): string {
  return hostname.trim().toLowerCase()
}
