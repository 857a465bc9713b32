// The tunnel devices themselves. tunl0 is the kernel's own fallback device where the ipip module is loaded: it cannot
// be deleted and answers "exists" to whoever creates it, so it is adopted. vxlan.calico is wholly ours: what has the
// wrong identity there (VNI, port, local address) is made anew, since the kernel cannot change those.
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Link, LinkChange, LinkSpec } from '../../kernel/port/links.ts'
import type { TunnelDevice } from '../desired.ts'
import type { LinkView } from './link-view.ts'
import { ForeignOwner, type ObjectName, type Outcome, refusal } from './reconciler.ts'

export class TunnelLinks {
  readonly #kernel: Kernel
  readonly #links: LinkView
  /** Devices that were right after an apply, as they were wanted then: a change since was somebody else's. */
  readonly #held = new Map<string, string>()

  constructor(kernel: Kernel, links: LinkView) {
    this.#kernel = kernel
    this.#links = links
  }

  /** Makes, adopts and corrects the wanted devices; without `mayRemove`, an unwanted vxlan.calico stays. */
  async apply(wanted: ReadonlyMap<string, TunnelDevice>, mayRemove: boolean): Promise<Outcome> {
    const outcome: Outcome = { written: [], healed: [], refused: [], withheld: [] }
    for (const device of wanted.values()) {
      const object = named(device.name)
      const identity = JSON.stringify(device)
      const held = this.#held.get(device.name) === identity
      this.#held.delete(device.name)
      try {
        if (await this.#ensure(device)) {
          outcome.written.push(object)
          if (held) outcome.healed.push(object)
        }
        this.#held.set(device.name, identity)
      } catch (error) {
        if (!(error instanceof Error)) throw error
        outcome.refused.push(refusal(object, error))
      }
    }
    const stray = this.#links.byName('vxlan.calico')
    if (stray !== undefined && !wanted.has(stray.name)) {
      if (mayRemove) await this.#remove(stray, outcome)
      else outcome.withheld.push(named(stray.name))
    }
    return outcome
  }

  /** Whether the device had to be changed. */
  async #ensure(device: TunnelDevice): Promise<boolean> {
    let link = this.#links.byName(device.name)
    let changed = false
    if (link !== undefined && device.kind === 'vxlan' && !sameVxlan(link, device)) {
      await this.#kernel.deleteLink(link.index)
      this.#links.gone(link)
      link = undefined
    }
    if (link === undefined) {
      link = await this.#create(device)
      changed = true
    }
    if (device.kind === 'ipip' && !openIpip(link))
      throw new ForeignOwner(
        `${device.name} is somebody else's ${link.kind ?? 'device'} with a fixed far end; rename it`,
      )
    const change: LinkChange = {
      ...(link.mtu === device.mtu ? {} : { mtu: device.mtu }),
      ...(device.mac === undefined || link.mac === device.mac ? {} : { mac: device.mac }),
      ...(link.up ? {} : { up: true }),
    }
    if (Object.keys(change).length === 0) return changed
    await this.#kernel.setLink(link.index, change)
    const now = await this.#kernel.link(link.index)
    if (now !== undefined) this.#links.saw(now)
    return true
  }

  async #create(device: TunnelDevice): Promise<Link> {
    try {
      const link = await this.#kernel.createLink(specOf(device))
      this.#links.saw(link)
      return link
    } catch (error) {
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EEXIST) throw error
      const link = await this.#kernel.link(device.name)
      if (link === undefined) throw error
      this.#links.saw(link)
      return link
    }
  }

  async #remove(link: Link, outcome: Outcome): Promise<void> {
    const object = named(link.name)
    try {
      await this.#kernel.deleteLink(link.index)
      this.#links.gone(link)
      this.#held.delete(link.name)
      outcome.written.push(object)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      outcome.refused.push(refusal(object, error))
    }
  }
}

function named(name: string): ObjectName {
  return { kind: 'link', key: name, interfaceName: name }
}

function specOf({ name, kind, mtu, mac, vni, port, local }: TunnelDevice): LinkSpec {
  if (kind === 'ipip') return { kind, name, mtu }
  if (vni === undefined || port === undefined) throw new Error(`${name} is wanted without VNI or port`)
  return { kind, name, vni, port, local, mac, mtu }
}

function sameVxlan({ kind, vxlan }: Link, { vni, port, local }: TunnelDevice): boolean {
  return kind === 'vxlan' && vxlan?.vni === vni && vxlan?.port === port && vxlan?.local === local && !vxlan?.learning
}

/** An ipip device that sends to whichever gateway a route names. */
function openIpip({ kind, ipip }: Link): boolean {
  return kind === 'ipip' && isAny(ipip?.local) && isAny(ipip?.remote)
}

function isAny(address: string | undefined): boolean {
  return address === undefined || address === '0.0.0.0'
}
