// What the thread of BFD is told, and what it says.
import type { BfdChange, BfdSessionConfig, BfdStatus } from './config.ts'

/** In the order in which they are sent. Sessions that are not there are passed over. */
export type BfdRequest =
  /** Nothing that is refused: whoever sends it has looked. */
  | { do: 'set'; name: string; config: BfdSessionConfig }
  | { do: 'remove' | 'disable' | 'enable'; name: string }
  | { do: 'status'; id: number }
  /** Every neighbour is told once, and the thread ends. */
  | { do: 'close' }

export type BfdReport =
  | { type: 'change'; change: BfdChange }
  /** The answer to `status`. */
  | { type: 'status'; id: number; status: BfdStatus }
