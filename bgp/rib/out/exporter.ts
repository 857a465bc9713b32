// From a selected attribute set to the set that one export group is sent. Each is computed once: plain sets on octets, the
// others on values. Results are interned for the group, so that equal results from different sources share messages.
import { Writer } from '../../../lib/bytes.ts'
import { Policy } from '../../policy.ts'
import type { SpeakerNumbers } from '../speaker-numbers.ts'
import type { AttributeFacts } from '../store/attribute-facts.ts'
import { emitSet, parseSet, SET_ROOM } from '../store/attribute-set.ts'
import type { AttributeStore } from '../store/attribute-store.ts'
import type { PrefixTable } from '../store/prefix-table.ts'
import { widened } from '../store/prefix-table.ts'
import type { ExportSource } from '../types.ts'
import { advertise, type ExportTarget, withheldFrom } from './advertisement.ts'
import { ByteExport } from './export-bytes.ts'
import { SharedLink } from './shared-link.ts'

const WITHHELD = 0xffffffff

type ExporterDeps = {
  store: AttributeStore
  facts: AttributeFacts
  prefixes: PrefixTable
  speaker: SpeakerNumbers
  /** Source of a stored set, by its owner. */
  sourceOf(set: number): ExportSource
  /** Most octets of a set that fit into a message with one prefix. */
  room: number
  tooLong(prefix: number): void
}

export class Exporter {
  readonly target: ExportTarget
  /** The link that all peers of the group are on, when there is one. */
  readonly link: SharedLink | undefined
  readonly #policy: Policy
  readonly #deps: ExporterDeps
  /** Owner of the sets made here. */
  readonly #owner: number
  readonly #bytes: ByteExport | undefined
  readonly #scratch = new Uint8Array(SET_ROOM)
  readonly #octets: Uint8Array
  #memo = new Uint32Array(1024)

  constructor(target: ExportTarget, owner: number, deps: ExporterDeps) {
    this.target = target
    this.#owner = owner
    this.#deps = deps
    this.#policy = new Policy(target.rules ?? undefined, { external: target.peerType === 'ebgp' })
    this.link = target.connected && new SharedLink(target.connected)
    this.#bytes = ByteExport.for(target, this.#policy, deps.speaker, this.link)
    this.#octets = new Uint8Array(deps.prefixes.octets)
  }

  /** The set that is sent for a prefix with the stored set `set`, with one more reference; 0: nothing is sent. */
  export(set: number, prefix: number): number {
    if (this.#policy.dependsOnPrefix) return this.#make(set, prefix)
    if (set >= this.#memo.length) this.#memo = widened(this.#memo, new Uint32Array(this.#deps.store.capacity))
    let made = this.#memo[set]!
    if (made === 0) {
      made = this.#make(set, prefix)
      this.#memo[set] = made === 0 ? WITHHELD : made
    }
    if (made === WITHHELD || made === 0) return 0
    this.#deps.store.hold(made)
    return made
  }

  /** Whether nothing is sent with the stored set `set` to any peer of this group, whatever its rules say. */
  withholds(set: number): boolean {
    const { facts, sourceOf } = this.#deps
    return withheldFrom(facts.flags[set]!, sourceOf(set), this.target) !== undefined
  }

  /** Why nothing is sent for a prefix with this set; undefined when something is. */
  explain(set: number, prefix: number): string | undefined {
    const { store, facts, sourceOf, prefixes, speaker } = this.#deps
    const withheld = withheldFrom(facts.flags[set]!, sourceOf(set), this.target)
    if (withheld !== undefined) return withheld
    prefixes.read(prefix, this.#octets)
    const at = { octets: this.#octets, length: prefixes.length(prefix) }
    const made = advertise(parseSet(store.view(set)), sourceOf(set), this.target, this.#policy, speaker, at, this.link)
    return 'set' in made ? undefined : `${made.withheld}: ${made.detail}`
  }

  /** Called when a stored set is about to be freed: forgets what was made from it. */
  forget(set: number): void {
    const made = this.#memo[set]
    if (made === undefined || made === 0) return
    this.#memo[set] = 0
    if (made !== WITHHELD) this.#deps.store.release(made)
  }

  /** Forgets everything made so far. */
  reset(): void {
    for (let set = 0; set < this.#memo.length; set++) this.forget(set)
    this.link?.reset()
  }

  #make(set: number, prefix: number): number {
    const { store, facts, sourceOf, prefixes, speaker, room } = this.#deps
    const source = sourceOf(set)
    const flags = facts.flags[set]!
    if (withheldFrom(flags, source, this.target) !== undefined) return 0
    const start = store.offset(set)
    const scratch = this.#scratch
    const end = start + store.length(set)
    // a speaker that drains adds to every set what only values can be given
    const bytes = speaker.draining ? undefined : this.#bytes
    const length = bytes?.rewrite(store.arena, start, end, flags, source, scratch) ?? -1
    if (length >= 0 && length <= room) return store.intern(scratch, 0, length, this.#owner)
    prefixes.read(prefix, this.#octets)
    const at = { octets: this.#octets, length: prefixes.length(prefix) }
    const made = advertise(parseSet(store.view(set)), source, this.target, this.#policy, speaker, at, this.link)
    if (!('set' in made)) return 0
    const w = new Writer(scratch)
    emitSet(w, made.set, this.target.family, this.target.session)
    if (w.length <= room) return store.intern(w.bytes, 0, w.length, this.#owner)
    this.#deps.tooLong(prefix)
    return 0
  }
}
