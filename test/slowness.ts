// How slow this machine is now, for tests of promises in milliseconds: other tests and benchmarks share its cores.

/** How many times longer than on an idle machine a processor's work takes here and now; at least 1. */
export function slowness(): number {
  const [startMs, before] = [performance.now(), process.threadCpuUsage()]
  for (let spent = 0; spent < 30_000; ) {
    const { user, system } = process.threadCpuUsage(before)
    spent = user + system
  }
  return Math.max(1, (performance.now() - startMs) / 30)
}

/** Who looks so often, and finds that more than twice this has passed, did not run meanwhile. */
const TICK_MS = 10

/**
 * Measures what happens until `over` resolves: how long it took, without the time in which this machine stood still, and
 * the promised time scaled to this machine, in milliseconds.
 */
export async function promised(
  promiseMs: number,
  over: () => Promise<unknown>,
): Promise<{ tookMs: number; mostMs: number }> {
  const before = slowness()
  const startMs = performance.now()
  let [stoodMs, lastMs] = [0, startMs]
  const look = () => {
    const nowMs = performance.now()
    stoodMs += Math.max(0, nowMs - lastMs - 2 * TICK_MS)
    lastMs = nowMs
  }
  const ticks = setInterval(look, TICK_MS)
  await over()
  look()
  clearInterval(ticks)
  const tookMs = Math.round(performance.now() - startMs - stoodMs)
  return { tookMs, mostMs: Math.round(promiseMs * Math.max(before, slowness())) }
}

/** How long to wait for an answer that is to come, in milliseconds: it costs nothing when it comes, and machines stop for seconds. */
export const ANSWER_MS = 20_000

/** How long to wait for an answer that is not to come, in milliseconds. */
export const SILENCE_MS = 1000

/**
 * How long `work` keeps this thread busy, in milliseconds of the processor, to about 10: what tells a cost that grows with
 * the square of the input from one that does not, while other programs have the processor too.
 */
export function processorMs(work: () => void): number {
  const before = process.threadCpuUsage()
  work()
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000
}
