// A wire of path probes in memory: what is sent to an address of another wire is answered by that one, unless the test loses it.
import type { Packet } from '../../../agent/probes/paths.ts'
import type { Arrivals, ProbeWire } from '../../../agent/probes/wire.ts'
import type { FakeWorld } from '../../../kernel/fake/world.ts'
import { familyOf } from '../../../lib/ip.ts'

export class Fabric {
  /** Of the namespaces of probes, by address. */
  readonly ends = new Map<string, (claimed: string, source: string) => void>()
  loses: (packet: Packet, from: string) => boolean = () => false
  /** What a probe's source becomes on its way. */
  sourceOf: (claimed: string) => string = claimed => claimed
  #count = 0

  /** How the agent of `world` opens its wires. */
  wireOf(world: FakeWorld): () => ProbeWire {
    return () => this.#open(world, `/run/netns/probes-${++this.#count}`)
  }

  #open(world: FakeWorld, netns: string): ProbeWire {
    world.addNetns(netns)
    const waiting: ((arrivals: Arrivals) => void)[] = []
    let own: readonly string[] = []
    const asked = (claimed: string, source: string) =>
      void waiting.push(arrivals => arrivals.asked(familyOf(claimed), claimed, source))
    return {
      netns,
      use: addresses => {
        for (const address of own) this.ends.delete(address)
        own = addresses
        for (const address of own) this.ends.set(address, asked)
      },
      send: packet => {
        const { kind, address, look } = packet
        const from = own.find(each => familyOf(each) === familyOf(address))
        if (from === undefined) return false
        const end = this.ends.get(address)
        if (this.loses(packet, from) || (kind === 'pod' && end === undefined)) return true
        end?.(from, this.sourceOf(from))
        waiting.push(arrivals => arrivals.answered(look, kind))
        return true
      },
      drain: arrivals => {
        for (const tell of waiting.splice(0)) tell(arrivals)
      },
      close: () => {
        for (const address of own) this.ends.delete(address)
        world.removeNetns(netns)
      },
    }
  }
}
