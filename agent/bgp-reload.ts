// What a changed configuration file of `margay-bgp` does, told before it is done. Pure but for asking the speaker which
// changes reset a session.
import { isDeepStrictEqual } from 'node:util'
import { nameOf } from '../bgp/config.ts'
import type { ConfigFile } from '../bgp/file/types.ts'
import type { Speaker } from '../bgp/speaker.ts'

/** What a reload did, or would do: sessions that are reset with the reasons, peers and networks that come and go. */
export type Reloaded = {
  resets: { peer: string; because: string[] }[]
  added: string[]
  removed: string[]
  changed: string[]
  /** The use of several paths changes, without a reset. */
  multipath: boolean
  networks: { announced: string[]; withdrawn: string[] }
  /** Absent: as before. */
  drain?: 'begins' | 'ends'
}

/** What going from `old` to `next` does to the sessions and networks of `speaker`. Changes nothing. */
export function reloadPlan(old: ConfigFile, next: ConfigFile, speaker: Pick<Speaker, 'plan'>): Reloaded {
  const before = new Map(old.peers.map(peer => [nameOf(peer), peer]))
  const after = new Map(next.peers.map(peer => [nameOf(peer), peer]))
  const changed = [...after].filter(([name, peer]) => before.has(name) && !isDeepStrictEqual(before.get(name), peer))
  const was = new Map(old.networks.map(network => [network.prefix, network]))
  return {
    resets: changed
      .map(([name, peer]) => ({ peer: name, because: speaker.plan(peer) }))
      .filter(({ because }) => because.length > 0),
    added: [...after.keys()].filter(name => !before.has(name)),
    removed: [...before.keys()].filter(name => !after.has(name)),
    changed: changed.map(([name]) => name),
    multipath: !isDeepStrictEqual(old.speaker.multipath, next.speaker.multipath),
    ...(old.drain !== next.drain && { drain: next.drain ? 'begins' : 'ends' }),
    networks: {
      announced: next.networks.filter(n => !isDeepStrictEqual(was.get(n.prefix), n)).map(n => n.prefix),
      withdrawn: [...was.keys()].filter(prefix => !next.networks.some(n => n.prefix === prefix)),
    },
  }
}
