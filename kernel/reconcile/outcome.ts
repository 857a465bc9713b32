// What bringing the kernel to what is wanted came to: written, healed, refused and withheld objects, by name.
import { KernelError } from '../port/error.ts'
import type { Author } from '../port/kernel.ts'

export type ObjectKind =
  | 'link'
  | 'address'
  | 'sysctl'
  | 'neighbour'
  | 'fdb'
  | 'route'
  | 'nextHop'
  | 'shaping'
  | 'nftTable'
  | 'nftSet'
  | 'nftChain'
  | 'nftElement'

/** Names one kernel object: its kind, its key within the kind, and the interface that it is on where it has one. */
export type ObjectName = { kind: ObjectKind; key: string; interfaceName?: string }

/**
 * Why an object is not as wanted. `Refused`: the kernel said no, with `errno`; `NoInterface`: its interface does not
 * exist; `ForeignOwner`: an object of another owner is in its place; `NotShown`: the kernel took it and does not show it.
 */
export type RefusalReason = 'Refused' | 'NoInterface' | 'ForeignOwner' | 'NotShown'

/** One object that is not as wanted; `message` is for people. */
export type Refusal = ObjectName & { reason: RefusalReason; errno?: number; message: string }

/**
 * What an object of ours was found as, after it had been right: gone, or changed. `found` and `is` say what differs, and what it is
 * again, in the words of its kind (`mtu 1500`, `via 10.0.0.2 dev eth0 proto 80`); absent where there are none.
 */
export type Damage = { gone?: true; found?: string; is?: string }

/** Had been right before somebody else changed it: who, where the kernel told. */
export type Healed = ObjectName & Damage & { by?: Author }

/** Would count as ours, but nobody here wanted it: another program made it, and it was removed. `found` as for `Damage`. */
export type Removed = ObjectName & { found?: string; by?: Author }

/**
 * What became of an object, where the driver tells, and what made it so where several things may: a route's origin. `members`: how many
 * came into a set, and went.
 */
export type Written = ObjectName & {
  change?: 'Came' | 'Changed' | 'Went'
  origin?: 'pod' | 'block' | 'learned'
  members?: { came: number; went: number }
}

/** What one `apply` did. `healed`: written, and had been right before. */
export type Outcome = {
  written: Written[]
  healed: Healed[]
  removed: Removed[]
  refused: Refusal[]
  /** Not wanted, ours, and not removed yet. */
  withheld: ObjectName[]
}

/** Some of what was wanted is not in the kernel; everything else is. */
export class ApplyError extends Error {
  override readonly name = 'ApplyError'
  readonly refusals: readonly Refusal[]
  constructor(refusals: readonly Refusal[]) {
    super(refusals.map(({ kind, key, message }) => `${kind} ${key}: ${message}`).join('; '))
    this.refusals = refusals
  }
}

/** Why one write was not done. */
export type WriteFailure = Pick<Refusal, 'reason' | 'errno' | 'message'>

/** What a refused request means for its object; `name`: how people know it, where the kernel's own words have an index. */
export function failureOf(error: KernelError, name?: string): WriteFailure {
  const { errno, operation, object, detail } = error
  const message =
    name === undefined || object === name ? error.message : new KernelError(errno, operation, name, detail).message
  return { reason: 'Refused', errno, message }
}

/** An object waits for its interface; the event of the link brings the next attempt. */
export function noInterface(interfaceName: string): WriteFailure {
  return { reason: 'NoInterface', message: `interface ${interfaceName} is not there` }
}

/** Nothing was done yet. */
export function noOutcome(): Outcome {
  return { written: [], healed: [], removed: [], refused: [], withheld: [] }
}

/** What several tables did, as one. */
export function mergeOutcomes(parts: readonly Outcome[]): Outcome {
  const merged = noOutcome()
  for (const { written, healed, removed, refused, withheld } of parts) {
    for (const name of written) merged.written.push(name)
    for (const name of healed) merged.healed.push(name)
    for (const name of removed) merged.removed.push(name)
    for (const refusal of refused) merged.refused.push(refusal)
    for (const name of withheld) merged.withheld.push(name)
  }
  return merged
}
