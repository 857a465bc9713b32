// The end of an agent, in order: requests first, then the blocks that changed, then everything that holds connections. In
// under 300 ms, of which BGP needs up to 100 for its last messages. Hazards: a server that does not answer holds up requests that
// wait for a block, the blocks, and whoever waits for the end of a write; the journal has what could not be published.
import type { Store } from '../datastore/port.ts'
import type { NodeAllocator } from '../ipam/allocator.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { AgentSocket } from './socket/server.ts'

type Running = {
  socket: Pick<AgentSocket, 'close'>
  agent: { readonly allocator: Pick<NodeAllocator, 'flush' | 'refuse'>; close(): Promise<void> }
  store: Pick<Store, 'close'>
  kernel: Pick<Kernel, 'close'>
}

/** How long a stopping agent waits for requests that need the server, and to publish blocks. */
const FLUSH_MS = 100

/** Resolves when nothing is open any more. Pods and routes stay. */
export async function stopAgent(
  { socket, agent, store, kernel }: Running,
  { clock, log }: { clock: Clock; log: Log },
): Promise<void> {
  agent.allocator.refuse()
  const served = socket.close()
  const late = Promise.withResolvers<void>()
  const cancel = clock.after(FLUSH_MS, late.resolve)
  // whatever went wrong: the journal has the blocks, and the process ends
  const flushed = served
    .then(() => agent.allocator.flush())
    .catch(error => log.warn({ err: error }, 'blocks wait for the next start'))
  await Promise.race([flushed, late.promise])
  cancel()
  // before requests and the agent, whose calls under way end with it
  await store.close()
  await served
  await agent.close()
  kernel.close()
}
