// The tracked connections of one namespace of the fake: none comes by itself, `flows` is filled by whoever plays the packets.
import type { ConntrackPort, Flow } from '../port/conntrack.ts'
import type { KernelError } from '../port/error.ts'

export class FakeConntrack implements ConntrackPort {
  flows: Flow[] = []

  async flowsOf(addresses: ReadonlySet<string> | 'all', each: (flow: Flow) => void): Promise<void> {
    for (const flow of [...this.flows]) {
      if (addresses === 'all' || addresses.has(flow.original.source) || addresses.has(flow.reply.source))
        each(structuredClone(flow))
    }
  }

  async deleteFlows(flows: readonly Flow[]): Promise<(KernelError | undefined)[]> {
    const ids = new Set(flows.map(({ id }) => id))
    this.flows = this.flows.filter(({ id }) => !ids.has(id))
    return flows.map(() => undefined)
  }
}
