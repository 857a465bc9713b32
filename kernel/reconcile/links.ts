// Links: tunnel devices, which are made and removed here, and the settings of links that somebody else makes. tunl0 is
// the kernel's own fallback device where the ipip module is loaded: it cannot be deleted and answers "exists" to whoever
// creates it, so it is adopted. A VXLAN device of another identity (VNI, port, local address) is made anew, since the
// kernel can neither change those nor hold both: the one place where something is removed before its successor is there.
import { ERRNO, KernelError } from '../port/error.ts'
import type { Author } from '../port/kernel.ts'
import type { Link, LinkChange, LinkPort, LinkSpec } from '../port/links.ts'
import { Authors } from './authors.ts'
import type { LinkView } from './link-view.ts'
import type { WantedLink } from './objects.ts'
import {
  type Damage,
  failureOf,
  noInterface,
  noOutcome,
  type ObjectName,
  type Outcome,
  type WriteFailure,
} from './outcome.ts'
import type { Ownership } from './ownership.ts'

export class LinkTable {
  readonly #kernel: LinkPort
  readonly #links: LinkView
  readonly #ownership: Ownership
  readonly #wanted = new Map<string, WantedLink>()
  /** Links that were right after an `apply`, as they were wanted then: a change since was somebody else's. */
  readonly #made = new Set<string>()
  readonly #held = new Map<string, WantedLink>()
  /** Who was told to have changed a wanted link last. */
  readonly #authors = new Authors()

  constructor(kernel: LinkPort, links: LinkView, ownership: Ownership) {
    this.#kernel = kernel
    this.#links = links
    this.#ownership = ownership
  }

  /** Wants the link to be so, or has no opinion on it any more. Memory only. */
  want(name: string, link?: WantedLink): void {
    if (link !== undefined) this.#wanted.set(name, link)
    else {
      this.#wanted.delete(name)
      this.#held.delete(name)
      this.#authors.forget(name)
    }
  }

  /** Takes in who changed a link. */
  changedBy(name: string, by: Author | undefined): void {
    if (this.#wanted.has(name)) this.#authors.changed(name, by)
  }

  wanted(): ReadonlyMap<string, WantedLink> {
    return this.#wanted
  }

  /** Makes, adopts and corrects the wanted links. A link that `mayGoUp` says no to is not taken up. */
  async apply(mayGoUp: (name: string) => boolean = () => true): Promise<Outcome> {
    const outcome = noOutcome()
    this.#made.clear()
    for (const wish of this.#wanted.values()) {
      const link = mayGoUp(wish.name) ? wish : { ...wish, up: undefined }
      const held = this.#held.get(link.name)
      this.#held.delete(link.name)
      const result = await this.#attempt(link.name, () => this.#ensure(link))
      if (result !== undefined && 'reason' in result) outcome.refused.push({ ...named(link.name), ...result })
      else {
        if (result !== undefined) outcome.written.push(named(link.name))
        if (result !== undefined && held !== undefined && sameWish(held, link))
          outcome.healed.push(this.#authors.healed(named(link.name), result))
        this.#authors.forget(link.name)
        this.#held.set(link.name, link)
      }
    }
    return outcome
  }

  /** Whether a link is a VXLAN device of ours that is not wanted. */
  isLeft(name: string): boolean {
    return this.#ownership.ownsVxlan(name) && !this.#wanted.has(name)
  }

  /** Removes the VXLAN devices of ours that are not wanted, with what is on them; without `mayRemove` they stay. */
  async remove(mayRemove: boolean): Promise<Outcome> {
    const outcome = noOutcome()
    for (const name of this.#ownership.marks.vxlanDevices ?? []) {
      const stray = this.isLeft(name) ? this.#links.byName(name) : undefined
      if (stray === undefined) continue
      if (!mayRemove) outcome.withheld.push(named(name))
      else {
        const result = await this.#attempt(name, () => this.#remove(stray))
        if (result !== undefined) outcome.refused.push({ ...named(name), ...result })
        else outcome.written.push(named(name))
      }
    }
    return outcome
  }

  /** Links that the last `apply` made: nothing is on them. */
  get made(): ReadonlySet<string> {
    return this.#made
  }

  /** What `act` answers, or why the kernel did not let it. */
  async #attempt<T>(name: string, act: () => Promise<T>): Promise<T | WriteFailure> {
    try {
      return await act()
    } catch (error) {
      if (error instanceof KernelError) return failureOf(error, name)
      throw error
    }
  }

  /** What the link was found as, where it had to be changed. */
  async #ensure(wanted: WantedLink): Promise<Damage | WriteFailure | undefined> {
    let link = await this.#links.find(wanted.name)
    let damage: Damage | undefined
    if (link !== undefined && wanted.kind === 'vxlan' && !sameVxlan(link, wanted)) {
      damage = { found: vxlanWords({ ...link, ...link.vxlan }), is: vxlanWords(wanted) }
      await this.#remove(link)
      link = undefined
    }
    if (link === undefined) {
      if (wanted.kind === undefined) return noInterface(wanted.name)
      link = await this.#create(wanted, wanted.kind)
      damage ??= { gone: true }
    }
    if (wanted.kind === 'ipip' && !openIpip(link)) {
      const what = `somebody else's ${link.kind ?? 'device'} with a fixed far end`
      return { reason: 'ForeignOwner', message: `${wanted.name} is ${what}; rename it` }
    }
    const change: LinkChange = {
      ...(link.mtu === wanted.mtu ? {} : { mtu: wanted.mtu }),
      ...(wanted.mac === undefined || link.mac === wanted.mac ? {} : { mac: wanted.mac }),
      ...(link.up || wanted.up !== true ? {} : { up: true }),
    }
    if (Object.keys(change).length === 0) return damage
    // before the event of this write arrives, which must not look like the doing of somebody else
    this.#links.saw({ ...link, ...change })
    await this.#kernel.setLink(link.index, change)
    const now = await this.#kernel.link(link.index)
    if (now !== undefined) this.#links.saw(now)
    return damage ?? { found: linkWords(link, change), is: linkWords({ ...link, ...change }, change) }
  }

  async #create(wanted: WantedLink, kind: 'ipip' | 'vxlan'): Promise<Link> {
    try {
      const link = await this.#kernel.createLink(specOf(wanted, kind))
      this.#links.saw(link)
      this.#made.add(link.name)
      return link
    } catch (error) {
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EEXIST) throw error
      const link = await this.#kernel.link(wanted.name)
      if (link === undefined) throw error
      this.#links.saw(link)
      return link
    }
  }

  async #remove(link: Link): Promise<undefined> {
    await this.#kernel.deleteLink(link.index)
    this.#links.gone(link)
    this.#held.delete(link.name)
  }
}

/** What a link has of the fields of `changed`, as people say it. */
function linkWords({ up, mtu, mac }: Link, changed: LinkChange): string {
  const words = [
    changed.up !== undefined && (up ? 'up' : 'down'),
    changed.mtu !== undefined && `mtu ${mtu}`,
    changed.mac !== undefined && `address ${mac}`,
  ]
  return words.filter(word => word !== false).join(' ')
}

function vxlanWords({
  kind,
  vni,
  port,
  local,
}: Pick<WantedLink, 'vni' | 'port' | 'local'> & { kind?: string }): string {
  return kind === 'vxlan' ? `vxlan id ${vni} dstport ${port} local ${local}` : `${kind ?? 'no vxlan'}`
}

function named(name: string): ObjectName {
  return { kind: 'link', key: name, interfaceName: name }
}

function sameWish(a: WantedLink, b: WantedLink): boolean {
  return (
    a.kind === b.kind &&
    a.mtu === b.mtu &&
    a.up === b.up &&
    a.mac === b.mac &&
    a.vni === b.vni &&
    a.port === b.port &&
    a.local === b.local
  )
}

function specOf({ name, mtu, mac, vni, port, local }: WantedLink, kind: 'ipip' | 'vxlan'): LinkSpec {
  if (kind === 'ipip') return { kind, name, mtu }
  if (vni === undefined || port === undefined) throw new Error(`${name} is wanted without VNI or port`)
  return { kind, name, vni, port, local, mac, mtu }
}

function sameVxlan({ kind, vxlan }: Link, { vni, port, local }: WantedLink): boolean {
  return kind === 'vxlan' && vxlan?.vni === vni && vxlan?.port === port && vxlan?.local === local && !vxlan?.learning
}

/** An ipip device that sends to whichever gateway a route names. */
function openIpip({ kind, ipip }: Link): boolean {
  return kind === 'ipip' && isAny(ipip?.local) && isAny(ipip?.remote)
}

function isAny(address: string | undefined): boolean {
  return address === undefined || address === '0.0.0.0'
}
