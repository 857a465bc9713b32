// Limits the bandwidth of pods' interfaces, seen from the pod: what it gets waits in a token bucket at the root of the host's
// side; what it sends is led from there over a link of its own (`ifb`), where it waits in one, and comes in again. What carries
// no mark of ours (handle, preference, name of the link) is left alone, and is in the way of that direction.
// Hazards: packets that are led to a link that is gone or down are lost, so the link comes first and goes last. The plugin
// `bandwidth` fails, and the pod with it, where it finds something in its place: where it may come, it comes first (`yields`).
import { isDeepStrictEqual } from 'node:util'
import { ERRNO, KernelError } from '../port/error.ts'
import type { Author, Kernel, KernelEvent } from '../port/kernel.ts'
import type { Link } from '../port/links.ts'
import { type Bucket, type IngressFilter, type Qdisc, sameBucket } from '../port/shaping.ts'
import { type Rate, SHAPED_DIRECTIONS, type Shape, type ShapedDirection } from './objects.ts'
import { failureOf, noOutcome, type ObjectName, type Outcome } from './outcome.ts'

/** `podPrefix`: of the host's sides; `linkPrefix`, as long: of the links that what pods send is led over. */
export type ShaperMarks = { podPrefix: string; linkPrefix: string }

/** What of an interface another program limits, in the words of tc. */
export type OtherLimit = { interfaceName: string; direction: ShapedDirection; what: string }

type ShaperKernel = Pick<
  Kernel,
  | 'links'
  | 'createLink'
  | 'setLink'
  | 'deleteLink'
  | 'qdiscs'
  | 'setBucket'
  | 'deleteBucket'
  | 'addIngress'
  | 'deleteIngress'
  | 'ingressFilters'
  | 'addRedirect'
  | 'deleteIngressFilter'
>

/** The marks of what is ours: `tc` shows both as 6d67. */
const HANDLE = 0x6d67
const PREFERENCE = 0x6d67
/** How long whoever limits an interface beside us has for it: a runtime calls the plugins behind ours at once. */
const YIELD_MS = 10_000
/** Of Ethernet. */
const HEADER = 14
/** What waits goes within this time, as in Calico and the plugin bandwidth, */
const LATENCY_SECONDS = 0.025
/** but two of the largest packets (GSO) must find room, or none of them would. Bursts do not wait, so they need none. */
const LEAST_LIMIT = 2 * 65_536
const MAX_U32 = 0xffff_ffff

type Reading = {
  links: ReadonlyMap<string, Link>
  roots: ReadonlyMap<number, Qdisc>
  ingress: ReadonlyMap<number, Qdisc>
}

export class Shaper {
  readonly #kernel: ShaperKernel
  readonly #marks: ShaperMarks
  readonly #nowMs: () => number
  readonly #wanted = new Map<string, { shape: Shape; sinceMs: number }>()
  /** What was right after a pass, as it was wanted then: a change since was somebody else's. */
  readonly #held = new Map<string, Rate>()
  /** Links that matter, as of the last reading, by index. */
  #seen = new Map<number, Link>()
  /** Who changed what is on a pod's interface, or on the link beside it, since the last pass. */
  readonly #changedBy = new Map<string, Author>()
  #others: readonly OtherLimit[] = []
  /** When the next that yields now is limited. */
  #nextMs: number | undefined
  #stale = true

  constructor(kernel: ShaperKernel, marks: ShaperMarks, nowMs: () => number) {
    this.#kernel = kernel
    this.#marks = marks
    this.#nowMs = nowMs
  }

  /** Wants the interface of a pod limited so, or not at all. Memory only. */
  want(interfaceName: string, shape: Shape | undefined): void {
    const before = this.#wanted.get(interfaceName)
    if (isDeepStrictEqual(before?.shape, shape)) return
    if (shape === undefined) {
      this.#wanted.delete(interfaceName)
      for (const direction of SHAPED_DIRECTIONS) this.#held.delete(`${interfaceName} ${direction}`)
    } else this.#wanted.set(interfaceName, { shape, sinceMs: before?.sinceMs ?? this.#nowMs() })
    this.#stale = true
  }

  /** The kernel may have changed unseen: the next pass reads all. */
  invalidate(): void {
    this.#stale = true
  }

  /** Takes in what the kernel tells; returns whether a pass is needed. */
  observe(event: KernelEvent): boolean {
    const name = this.#concerned(event)
    if (name === undefined) return false
    if (event.by !== undefined) this.#changedBy.set(this.#podOf(name), event.by)
    this.#stale = true
    return true
  }

  /** What others limit that should be limited here, as of the last pass. */
  get others(): readonly OtherLimit[] {
    return this.#others
  }

  /** After so long another pass limits what yields now; undefined: nothing does. */
  get waitMs(): number | undefined {
    return this.#nextMs === undefined ? undefined : Math.max(0, this.#nextMs - this.#nowMs())
  }

  /**
   * Brings the kernel to what is wanted, and takes away what is ours and not wanted any more. Rejects with `KernelError` where it
   * cannot be read.
   */
  async apply(): Promise<Outcome> {
    const outcome = noOutcome()
    if (!this.#stale && this.waitMs !== 0) return outcome
    this.#stale = false
    // one time for all of it: what yields at first and not at the end would wait for the next change
    const nowMs = this.#nowMs()
    try {
      const reading = await this.#read()
      const others: OtherLimit[] = []
      for (const [name, { index }] of reading.links) {
        if (!name.startsWith(this.#marks.podPrefix)) continue
        const found = await this.#seenOn(name, index, reading)
        for (const direction of SHAPED_DIRECTIONS)
          await this.#attempt(`${name} ${direction}`, outcome, async () => {
            const other = otherLimit(found, direction)
            const { wish, yields } = this.#wish(name, direction, found, nowMs)
            if (wish === undefined) return { changed: await this.#clear(found, direction), wish }
            if (other === undefined) return { changed: await this.#ensure(found, direction, wish), wish }
            // one that was meant to be there does what was asked for
            if (!yields) others.push({ interfaceName: name, direction, what: other })
            return { changed: false, wish: undefined }
          })
      }
      await this.#removeStrays(reading, outcome)
      this.#others = others
    } catch (error) {
      this.#stale = true
      throw error
    }
    const ends = [...this.#wanted.values()].flatMap(({ shape, sinceMs }) => (shape.yields ? sinceMs + YIELD_MS : []))
    this.#changedBy.clear()
    this.#nextMs = ends.filter(end => end > nowMs).toSorted((a, b) => a - b)[0]
    if (outcome.refused.length > 0) this.#stale = true
    return outcome
  }

  async #read(): Promise<Reading> {
    const { podPrefix, linkPrefix } = this.#marks
    const all = await this.#kernel.links()
    const links = new Map(
      all
        .filter(({ name }) => name.startsWith(podPrefix) || name.startsWith(linkPrefix))
        .map(each => [each.name, each]),
    )
    this.#seen = new Map([...links.values()].map(link => [link.index, link]))
    const qdiscs = links.size === 0 ? [] : await noneIfUnknown(this.#kernel.qdiscs())
    const at = (place: Qdisc['at']) =>
      new Map(qdiscs.filter(qdisc => qdisc.at === place).map(qdisc => [qdisc.ifindex, qdisc]))
    return { links, roots: at('root'), ingress: at('ingress') }
  }

  async #seenOn(name: string, index: number, { links, roots, ingress }: Reading): Promise<Found> {
    const linkName = this.#linkOf(name)
    const link = links.get(linkName)
    return {
      ...{ name, index, mtu: links.get(name)!.mtu, root: made(roots.get(index)), ingress: ingress.get(index) },
      filters: ingress.has(index) ? await noneIfUnknown(this.#kernel.ingressFilters(index)) : [],
      ...{ linkName, link, linkRoot: link && made(roots.get(link.index)) },
    }
  }

  /** What is wanted of a direction now, if it is not too early for it. */
  #wish(name: string, direction: ShapedDirection, found: Found, nowMs: number): { wish?: Rate; yields?: true } {
    const wanted = this.#wanted.get(name)
    const wish = wanted?.shape[direction]
    if (wanted === undefined || wish === undefined) return {}
    const { yields } = wanted.shape
    if (yields && !isOurs(found, direction) && nowMs < wanted.sinceMs + YIELD_MS) return {}
    return { wish, ...(yields && { yields }) }
  }

  async #attempt(
    key: string,
    outcome: Outcome,
    act: () => Promise<{ changed: boolean; wish: Rate | undefined }>,
  ): Promise<void> {
    const object: ObjectName = { kind: 'shaping', key }
    const held = this.#held.get(key)
    this.#held.delete(key)
    try {
      const { changed, wish } = await act()
      if (changed) outcome.written.push(object)
      if (changed && wish !== undefined && isDeepStrictEqual(held, wish)) {
        const by = this.#changedBy.get(key.split(' ')[0]!)
        outcome.healed.push({ ...object, ...(by && { by }) })
      }
      if (wish !== undefined) this.#held.set(key, wish)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      outcome.refused.push({ ...object, ...failureOf(error, key) })
    }
  }

  /** Whether something had to be changed. */
  async #ensure(found: Found, direction: ShapedDirection, rate: Rate): Promise<boolean> {
    const bucket = bucketOf(rate, found.mtu)
    if (direction === 'ingress') return this.#ensureBucket(found.index, found.root, bucket)
    let changed = false
    let { link } = found
    if (link === undefined) {
      link = await this.#kernel.createLink({ kind: 'ifb', name: found.linkName, mtu: found.mtu })
      this.#seen.set(link.index, link)
      changed = true
    }
    if (await this.#ensureBucket(link.index, found.link && found.linkRoot, bucket)) changed = true
    if (!link.up) {
      await this.#kernel.setLink(link.index, { up: true })
      changed = true
    }
    if (found.ingress === undefined) {
      await this.#kernel.addIngress(found.index)
      changed = true
    }
    const filter = found.filters.find(({ preference }) => preference === PREFERENCE)
    if (filter?.to === link.index) return changed
    if (filter !== undefined) await this.#kernel.deleteIngressFilter(found.index, PREFERENCE)
    await this.#kernel.addRedirect(found.index, { preference: PREFERENCE, to: link.index })
    return true
  }

  async #ensureBucket(ifindex: number, there: Qdisc | undefined, bucket: Bucket): Promise<boolean> {
    if (there?.bucket !== undefined && sameBucket(bucket, there.bucket)) return false
    await this.#kernel.setBucket(ifindex, HANDLE, bucket)
    return true
  }

  async #clear(found: Found, direction: ShapedDirection): Promise<boolean> {
    if (!isOurs(found, direction)) return false
    if (direction === 'ingress') await this.#kernel.deleteBucket(found.index, HANDLE)
    else if (found.filters.every(({ preference }) => preference === PREFERENCE))
      await this.#kernel.deleteIngress(found.index)
    else await this.#kernel.deleteIngressFilter(found.index, PREFERENCE)
    return true
  }

  /** Links that nothing is led over any more: their pods are gone, or ask for nothing. */
  async #removeStrays({ links }: Reading, outcome: Outcome): Promise<void> {
    for (const { name, kind, index } of links.values()) {
      if (!this.#isBeside(name) || kind !== 'ifb') continue
      const interfaceName = this.#podOf(name)
      if (links.has(interfaceName) && this.#wanted.get(interfaceName)?.shape.egress !== undefined) continue
      await this.#attempt(name, outcome, async () => {
        await this.#kernel.deleteLink(index)
        return { changed: true, wish: undefined }
      })
    }
  }

  /** The link that an event is about, where that matters; '' for any. */
  #concerned(event: KernelEvent): string | undefined {
    if (event.type === 'overrun') return this.#wanted.size > 0 ? '' : undefined
    if (event.type === 'shaping') {
      const name = this.#seen.get(event.ifindex)?.name
      return name !== undefined && (this.#wanted.has(name) || this.#isBeside(name)) ? name : undefined
    }
    if (event.type !== 'link' && event.type !== 'link-gone') return undefined
    const { name, index, mtu, up } = event.link
    const seen = this.#seen.get(index)
    const matters = this.#isBeside(name)
      ? event.type === 'link-gone' || !up || seen === undefined
      : this.#wanted.has(name) && (seen?.name !== name || seen.mtu !== mtu)
    return matters ? name : undefined
  }

  #isBeside(name: string): boolean {
    return name.startsWith(this.#marks.linkPrefix)
  }

  /** The interface of the pod that a link is beside, or is. */
  #podOf(name: string): string {
    const { linkPrefix, podPrefix } = this.#marks
    return this.#isBeside(name) ? podPrefix + name.slice(linkPrefix.length) : name
  }

  #linkOf(interfaceName: string): string {
    return this.#marks.linkPrefix + interfaceName.slice(this.#marks.podPrefix.length)
  }
}

/** One interface, as it was read. What the kernel gave a link by itself is not there. */
type Found = {
  name: string
  index: number
  mtu: number
  root: Qdisc | undefined
  ingress: Qdisc | undefined
  filters: readonly IngressFilter[]
  linkName: string
  link: Link | undefined
  linkRoot: Qdisc | undefined
}

/** Every packet of the interface fits into what may be saved up, or it could never be sent. */
function bucketOf({ rate, burst, peak }: Rate, mtu: number): Bucket {
  const packet = mtu + HEADER
  const waiting = peak === undefined ? rate : Math.min(rate, peak.rate)
  return {
    rate: Math.max(1, Math.floor(rate)),
    burst: within(packet, burst),
    limit: within(LEAST_LIMIT, waiting * LATENCY_SECONDS),
    ...(peak && { peak: { rate: Math.floor(peak.rate), burst: within(packet, peak.burst ?? packet) } }),
  }
}

/** A kernel without traffic control has none of it: pods that ask are refused it, and all others have their network. */
async function noneIfUnknown<T>(read: Promise<T[]>): Promise<T[]> {
  return read.catch((error: unknown) => {
    if (error instanceof KernelError && error.errno === ERRNO.EOPNOTSUPP) return []
    throw error
  })
}

function within(least: number, octets: number): number {
  return Math.min(MAX_U32, Math.max(least, Math.floor(octets)))
}

function made(qdisc: Qdisc | undefined): Qdisc | undefined {
  return qdisc === undefined || qdisc.handle === 0 ? undefined : qdisc
}

function isOurs({ root, filters }: Found, direction: ShapedDirection): boolean {
  return direction === 'ingress'
    ? root?.kind === 'tbf' && root.handle === HANDLE
    : filters.some(({ preference }) => preference === PREFERENCE)
}

/** What of another program is in the way of a limit, in the words of tc. */
function otherLimit(found: Found, direction: ShapedDirection): string | undefined {
  const { root, ingress, filters, link, linkName } = found
  if (direction === 'ingress')
    return root === undefined || isOurs(found, direction)
      ? undefined
      : `qdisc ${root.kind} ${root.handle.toString(16)}:`
  if (ingress !== undefined && ingress.kind !== 'ingress') return `qdisc ${ingress.kind}`
  const other = filters.find(({ preference }) => preference !== PREFERENCE)
  if (other !== undefined) return `a filter of what comes in with the preference ${other.preference}`
  return link === undefined || link.kind === 'ifb' ? undefined : `the link ${linkName}`
}
