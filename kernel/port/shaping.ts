// How fast a link may send: token buckets (tc-tbf(8)), and the way by which what comes in goes over another link, where it can
// wait in one. Part of the kernel port.

/** Octets, and octets per second. `limit`: what may wait; more is dropped. `peak`: how fast what was saved up may go. */
export type Bucket = { rate: number; burst: number; limit: number; peak?: { rate: number; burst: number } }

/** A queueing discipline at the root of a link, or what is asked about packets that come in. */
export type Qdisc = {
  ifindex: number
  at: 'root' | 'ingress'
  /** `tbf`, `noqueue`, `ingress`, `clsact`. */
  kind: string
  /** Of whoever made it, 16 bits (`tc`: `HANDLE:`). 0: the kernel gave it to the link. */
  handle: number
  /** Of a burst the kernel tells 32 bits of the time that it takes: see `sameBucket`. */
  bucket?: Bucket
}

/** A filter of what comes in by a link. `to`: index of the link that all of it goes over; absent: it does something else. */
export type IngressFilter = { preference: number; to?: number }

export type ShapingPort = {
  /** Of all links. */
  qdiscs(): Promise<Qdisc[]>
  /**
   * Puts a bucket at the root of a link, or changes the one of this handle there, without losing a packet. EEXIST where somebody
   * else's is there, ENOENT where this kernel has no token buckets.
   */
  setBucket(ifindex: number, handle: number, bucket: Bucket): Promise<void>
  /** Removes that of this handle from the root of a link. */
  deleteBucket(ifindex: number, handle: number): Promise<void>
  /** Lets filters see what comes in by a link. EEXIST where somebody did that. */
  addIngress(ifindex: number): Promise<void>
  /** Takes it away with all its filters. */
  deleteIngress(ifindex: number): Promise<void>
  /** In the order in which they are asked. Empty without `addIngress`. */
  ingressFilters(ifindex: number): Promise<IngressFilter[]>
  /** Has all that comes in go over another link, and then on as if it came in by this one. For a preference that no filter has. */
  addRedirect(ifindex: number, filter: Required<IngressFilter>): Promise<void>
  deleteIngressFilter(ifindex: number, preference: number): Promise<void>
}

/** The kernel's unit of time for buckets in nanoseconds (PSCHED_SHIFT), of which it tells 32 bits. */
const TICK_NS = 64

/** How the kernel tells of octets at a rate, in its unit of time. */
export function bucketTicks(octets: number, rate: number): number {
  return Math.floor((octets * 1e9) / rate / TICK_NS) % 2 ** 32
}

/** The octets that so many ticks stand for. */
export function ticksOctets(ticks: number, rate: number): number {
  return Math.round((ticks * TICK_NS * rate) / 1e9)
}

/** Whether a bucket that was read is the wanted one, as far as the kernel tells. */
export function sameBucket(wanted: Bucket, seen: Bucket): boolean {
  const near = (a: number, b: number, rate: number) => {
    const [x, y] = [bucketTicks(a, rate), bucketTicks(b, rate)]
    const apart = Math.min(Math.abs(x - y), 2 ** 32 - Math.abs(x - y))
    const ticksOfOctet = 1e9 / rate / TICK_NS
    // it rounds, and an octet may be many ticks
    return apart <= 2 + ticksOfOctet + a * ticksOfOctet * 1e-6
  }
  if (wanted.rate !== seen.rate || wanted.limit !== seen.limit) return false
  if (!near(wanted.burst, seen.burst, wanted.rate)) return false
  if (wanted.peak === undefined || seen.peak === undefined) return wanted.peak === seen.peak
  return wanted.peak.rate === seen.peak.rate && near(wanted.peak.burst, seen.peak.burst, wanted.peak.rate)
}
