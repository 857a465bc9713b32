// Hashes for tables whose keys come from peers. Two secret odd multipliers per table keep an attacker from computing which
// prefixes or attribute sets share a bucket. Hazard: every word needs two rounds. With one, a change of the top bit would
// pass the multiplication unchanged, whatever the secret, and the next word could undo it.
import { randomBytes } from 'node:crypto'

/** The secret of one table. */
export type Seed = { readonly a: number; readonly b: number; readonly c: number }

export function newSeed(): Seed {
  const r = randomBytes(12)
  return { a: r.readInt32LE(0) | 1, b: r.readInt32LE(4) | 1, c: r.readInt32LE(8) }
}

/** Folds one 32-bit word into a running hash. */
export function mix(hash: number, word: number, seed: Seed): number {
  let h = Math.imul(hash ^ word, seed.a)
  h = Math.imul(h ^ (h >>> 16), seed.b)
  return h ^ (h >>> 15)
}

/** Hash of `bytes[start..end)`, 32 bits. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, first: number, seed: Seed): number {
  const { a, b, c } = seed
  let h = c ^ first
  let at = start
  for (const whole = end - 3; at < whole; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    h = Math.imul(h ^ word, a)
    h = Math.imul(h ^ (h >>> 16), b)
    h ^= h >>> 15
  }
  let tail = (end - start) << 24
  for (let shift = 0; at < end; at++, shift += 8) tail ^= bytes[at]! << shift
  return mix(h, tail, seed)
}
