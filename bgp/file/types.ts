// What the configuration file of `margay-bgp` says, in the speaker's own types.
import type { SocketAddress } from '../../lib/ip.ts'
import type { BmpConfig } from '../bmp/config.ts'
import type { Network, PeerConfig, SpeakerConfig } from '../config.ts'

export type ConfigFile = {
  speaker: SpeakerConfig
  listen: readonly SocketAddress[]
  /** Path of the control socket; absent: none. */
  control?: string
  kernel:
    | 'none'
    | {
        table: number
        metric?: number
        protocol?: number
        /** Flows of several paths stay on theirs while it is there (next hop groups of type resilient). */
        resilient?: { buckets: number; idleSeconds: number }
      }
  /** Whether next hops are looked up in the kernel, and whether the default route leads to them. */
  nextHops: 'none' | { defaultRoute: boolean }
  peers: readonly PeerConfig[]
  networks: readonly Network[]
  /** What is announced says that this speaker will go soon. */
  drain: boolean
  /** BMP collectors; `name` absent: the name of this host. */
  bmp: readonly (Omit<BmpConfig, 'name' | 'description'> & { name?: string })[]
  /** A table dump to read at the start. */
  mrt?: { load: string; name?: string; import?: PeerConfig['import'] }
}
