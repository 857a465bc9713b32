// The identifiers of this speaker as numbers, as import and export compare them.
import { ipv4Number } from '../../lib/ip.ts'
import type { SpeakerConfig } from '../config.ts'
import { TrackedRule } from './tracked-paths.ts'

export type SpeakerNumbers = {
  asn: number
  routerId: number
  /** It may change while sessions stand. */
  clusterId: number
  /** What is announced says that this speaker will go soon (RFC 8326). It may change too. */
  draining: boolean
  /** Which paths need a next hop that can be reached. It may change too. */
  tracked: TrackedRule
  /** RFC 5065: the AS that peers outside the confederation see, and the member ASes. */
  confederation?: { identifier: number; members: readonly number[] }
}

export function speakerNumbers({
  asn,
  routerId,
  clusterId,
  confederation,
  tracked: paths,
}: SpeakerConfig): SpeakerNumbers {
  const identifiers = { routerId: ipv4Number(routerId), clusterId: ipv4Number(clusterId ?? routerId) }
  const tracked = new TrackedRule()
  tracked.set(paths)
  return { asn, ...identifiers, draining: false, tracked, confederation }
}
