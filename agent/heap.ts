// How V8 spends memory in this program. By itself it lets the young generation grow to 128 MiB while a list of 5,000
// Nodes is read, and waits until the old one is twice what lives: 300 to 530 MiB resident for 70 MiB of live objects, on
// every node of a cluster. The flags are set while the program runs, since a DaemonSet or a unit file starts plain `node
// main.ts`; both are read by V8 at each collection, not at its start. Checked with Node 24.
import { setFlagsFromString } from 'node:v8'
import type { Clock } from '../lib/clock.ts'

/** How often it is asked whether a start is over. */
const START_MS = 10_000

/** Before a start: the young generation stays as it is. Costs nothing measurable at a start. */
export function limitYoungGeneration(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  // helpers for a megabyte cost more than they take off this thread
  setFlagsFromString('--no-parallel-scavenge')
}

/**
 * After a start: the heap grows in small steps and shrinks when idle. Not before, since a start that fills the heap would
 * be collected over and over, which doubles its processor time.
 */
export function preferSmallHeap(): void {
  setFlagsFromString('--optimize-for-size')
}

/**
 * Calls `act` once, ten seconds after now or after a multiple of that: not before the node is ready. A cold start on a node
 * that has little processor time lasts longer than any fixed time.
 */
export function afterStart(ready: () => boolean, clock: Clock, act: () => void): void {
  clock.after(START_MS, () => (ready() ? act() : afterStart(ready, clock, act)))
}
