// Waits in a network in memory.

/** Lets everything that was written arrive: enough turns of the event loop for a few exchanges. */
export async function settle(turns = 40): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise(setImmediate)
}
