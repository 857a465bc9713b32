// Forwarding for the node as a whole, and on each device over which packets of other nodes come in: the kernel asks the
// setting of that device, which others may have switched off alone.
import { type NamedSysctl, sysctlKey } from '../../kernel/reconcile/objects.ts'
import type { Output } from './output.ts'

const FORWARD_IPV4: NamedSysctl = { family: 'ipv4', path: ['ip_forward'], value: '1' }
const FORWARD_IPV6: NamedSysctl = { family: 'ipv6', path: ['conf', 'all', 'forwarding'], value: '1' }

export class HostForwarding {
  readonly #output: Output<NamedSysctl>
  #devices: ReadonlyMap<string, NamedSysctl> = new Map()

  constructor(output: Output<NamedSysctl>) {
    this.#output = output
  }

  /**
   * Wants the node to forward, and each of `devices`. IPv6 only where pods or blocks use it: an IPv6 router stops believing
   * router advertisements, which can cost a host its own address.
   */
  want({ devices, ipv6 }: { devices: readonly string[]; ipv6: boolean }): void {
    const before = this.#devices
    this.#devices = new Map(devices.filter(name => name !== 'lo').map(forwardFrom))
    this.#output.want(sysctlKey(FORWARD_IPV4), FORWARD_IPV4)
    this.#output.want(sysctlKey(FORWARD_IPV6), ipv6 ? FORWARD_IPV6 : undefined)
    for (const key of before.keys()) if (!this.#devices.has(key)) this.#output.want(key, undefined)
    for (const [key, sysctl] of this.#devices) if (!before.has(key)) this.#output.want(key, sysctl)
  }
}

function forwardFrom(device: string): [string, NamedSysctl] {
  const sysctl: NamedSysctl = { family: 'ipv4', path: ['conf', device, 'forwarding'], value: '1', needs: 'device' }
  return [sysctlKey(sysctl), sysctl]
}
