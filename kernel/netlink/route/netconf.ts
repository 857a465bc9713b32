// What the kernel tells of settings: RTM_NEWNETCONF, which a write to `forwarding`, `proxy_arp`, `proxy_ndp` or `rp_filter` of an
// interface, of `all` or of `default` causes when it changes something. `ip_forward` is `forwarding` of `all`. Of other
// settings it tells nothing. All at once it tells where an interface or a family of it comes. netconfmsg is family u8, padded to 4, then attributes. Source: linux/netconf.h.
import type { KernelEvent } from '../../port/kernel.ts'
import type { SysctlFamily } from '../../port/sysctls.ts'
import { eachAttribute, type Message } from '../message.ts'
import { AF } from '../numbers.ts'
import { NETCONFA, NETCONFA_IFINDEX } from './numbers.ts'

const NETCONFMSG = 4

type SettingEvent = Extract<KernelEvent, { type: 'sysctl' }>

const NAMES: Readonly<Record<SysctlFamily, readonly (readonly [number, string])[]>> = {
  ipv4: [
    [NETCONFA.forwarding, 'forwarding'],
    [NETCONFA.rpFilter, 'rp_filter'],
    [NETCONFA.proxyNeigh, 'proxy_arp'],
  ],
  ipv6: [
    [NETCONFA.forwarding, 'forwarding'],
    [NETCONFA.proxyNeigh, 'proxy_ndp'],
  ],
}

/** Every setting that one message tells; none where it is of another family, or names no interface. */
export function parseNetconf({ body }: Message): SettingEvent[] {
  const family = body[0] === AF.inet ? 'ipv4' : body[0] === AF.inet6 ? 'ipv6' : undefined
  if (family === undefined || body.length < NETCONFMSG) return []
  const numbers = new Map<number, number>()
  eachAttribute(body, NETCONFMSG, (type, value) => {
    if (value.length >= 4) numbers.set(type, value.readInt32LE(0))
  })
  const ifindex = numbers.get(NETCONFA.ifindex)
  if (ifindex === undefined) return []
  const of = ifindex === NETCONFA_IFINDEX.all ? 'all' : ifindex === NETCONFA_IFINDEX.default ? 'default' : ifindex
  // beside the index: __devinet_sysctl_register and __addrconf_sysctl_register tell every setting, a write one
  const isNew = numbers.size > 2
  return NAMES[family].flatMap(([attribute, name]) => {
    const value = numbers.get(attribute)
    if (value === undefined) return []
    return [{ type: 'sysctl' as const, family, of, name, value: `${value}`, ...(isNew && { isNew }) }]
  })
}
