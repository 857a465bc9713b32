// What all nodes together say of each policy: how many must enforce it, how many do, and which lag and why. Pure, and told piece by
// piece: a receipt costs its own length, whatever the number of policies and nodes.
// Hazard: a node that has not heard of a policy says nothing about it, so no number is final before each node has said that it has
// worked through that policy. Each kind counts its changes here, and a node is as far as the newest count at which the policies had
// the digest that the node says. A digest that was never seen here (this program began later, or saw less) moves it nowhere.
import { PolicyDigest, RECEIPT_KINDS, type ReceiptKind } from '../api/policy-receipts.ts'
import type { PolicyReceipt } from '../api/receipt-schemas.ts'

export type BookedPolicy = { kind: ReceiptKind; revision: string; generation: number | undefined }

export type Lag = { node: string; reason: string; message: string }

/** `required`: nodes that must enforce it, and those that have not said whether they must. `lagging`: those that say why first, by name. */
export type PolicyCount = { required: number; enforcing: number; lagging: readonly Lag[] }

/** How far a node is in a kind that it has said nothing of, and one whose digest was never seen. */
const SILENT = -1
const UNSEEN = 0
/** The count of a policy that all nodes had worked through when an earlier run wrote it down, and of what is there at the start. */
const SETTLED = 0
const FIRST = 1
/** Digests that are remembered of each kind: a node that is further behind is unseen. */
const MOST_DIGESTS = 10_000

type Policy = BookedPolicy & { count: number }
type Node = { isAwaited: boolean; receipt: Held | undefined; readonly at: Map<ReceiptKind, number> }
/** `enforced`: numbers of revisions, sorted: thousands of nodes can have thousands each. `failing`: by number. */
type Held = { worked: Readonly<Record<string, string>>; enforced: Uint32Array; failing: ReadonlyMap<number, Lag> }
/** What is known by a revision: there while a policy has it or a node says it. */
type Revision = { number: number; text: string; enforcing: number; failing: Set<Node>; policies: Set<string> }

const NO_RECEIPT = {
  reason: 'NoReceipt',
  message: 'it has said nothing of policies: no agent of Margay runs there, or one that cannot write',
}
const BEHIND = { reason: 'Behind', message: 'it has not said yet that it has worked through this revision' }

class KindHistory {
  readonly digest = new PolicyDigest()
  readonly #counts = new Map<string, number>()
  count = FIRST

  /** The digest is that of the newest count. */
  note(): void {
    this.#counts.delete(this.digest.text)
    this.#counts.set(this.digest.text, this.count)
    const [oldest] = this.#counts.keys()
    if (this.#counts.size > MOST_DIGESTS) this.#counts.delete(oldest!)
  }

  countOf(digest: string | undefined): number | undefined {
    return digest === undefined ? undefined : this.#counts.get(digest)
  }
}

export class ReceiptBook {
  readonly #kinds = new Map(RECEIPT_KINDS.map(kind => [kind, new KindHistory()]))
  /** Nodes by what they say of a kind: `KIND DIGEST`. */
  readonly #claims = new Map<string, Set<Node>>()
  readonly #policies = new Map<string, Policy>()
  readonly #nodes = new Map<string, Node>()
  readonly #revisions = new Map<string, Revision>()
  readonly #byNumber = new Map<number, Revision>()
  #lastNumber = 0
  readonly #dirty = new Set<string>()

  /** All policies of a kind, as a list has them. The first time they are what was there when this program began. */
  list(kind: ReceiptKind, all: ReadonlyMap<string, BookedPolicy>, isFirst: boolean): void {
    const gone = [...this.#policies].filter(([id, policy]) => policy.kind === kind && !all.has(id))
    const changed = [...all].filter(([id, { revision }]) => this.#policies.get(id)?.revision !== revision)
    const history = this.#kinds.get(kind)!
    if (!isFirst && gone.length + changed.length > 0) history.count++
    for (const [id] of gone) this.#put(kind, id, undefined)
    for (const [id, policy] of all) this.#put(kind, id, policy)
    this.#noted(kind)
  }

  /** One policy that came, changed or went. */
  set(kind: ReceiptKind, id: string, policy: BookedPolicy | undefined): void {
    if (this.#policies.get(id)?.revision !== policy?.revision) this.#kinds.get(kind)!.count++
    this.#put(kind, id, policy)
    this.#noted(kind)
  }

  /** An earlier run has written down that all nodes had worked through this revision, where nothing changed since this run began. */
  settled(id: string, revision: string): void {
    const policy = this.#policies.get(id)
    if (policy?.revision !== revision || policy.count !== FIRST) return
    policy.count = SETTLED
    this.#dirty.add(id)
  }

  /** Whether a node counts before it has said anything. */
  setAwaited(name: string, isAwaited: boolean): void {
    const node = this.#nodes.get(name) ?? aNode()
    if (node.isAwaited === isAwaited) return
    this.#nodes.set(name, node)
    node.isAwaited = isAwaited
    if (node.receipt === undefined) this.#allDirty()
    this.#tidy(name, node)
  }

  /** What a node says now; undefined: nothing any more. */
  setReceipt(name: string, receipt: PolicyReceipt | undefined): void {
    const node = this.#nodes.get(name) ?? aNode()
    this.#nodes.set(name, node)
    const before = node.receipt
    const after = receipt && this.#read(name, receipt)
    node.receipt = after
    this.#exchange(node, before, after)
    for (const kind of RECEIPT_KINDS) this.#place(kind, node, before?.worked[kind])
    const isBehind = RECEIPT_KINDS.some(kind => (node.at.get(kind) ?? SILENT) < this.#kinds.get(kind)!.count)
    if ((before === undefined) !== (after === undefined) && (isBehind || node.isAwaited)) this.#allDirty()
    this.#tidy(name, node)
  }

  policy(id: string): BookedPolicy | undefined {
    return this.#policies.get(id)
  }

  /** At most so many policies whose count may be another one, and no more until they are told again. */
  take(most: number): string[] {
    const taken: string[] = []
    for (const id of this.#dirty) {
      if (taken.length === most) break
      this.#dirty.delete(id)
      taken.push(id)
    }
    return taken
  }

  /** Gives a policy back to `take`. */
  again(id: string): void {
    if (this.#policies.has(id)) this.#dirty.add(id)
  }

  /** What is so now. Costs a look at each node. */
  countOf(id: string): PolicyCount {
    const { kind, revision, count } = this.#policies.get(id)!
    const { enforcing, failing, number } = this.#revisions.get(revision)!
    const refusing = [...failing].map(node => node.receipt!.failing.get(number)!)
    const silent: Lag[] = []
    for (const [name, node] of this.#nodes) {
      if ((node.at.get(kind) ?? SILENT) >= count || saysOf(node, number)) continue
      if (node.receipt !== undefined) silent.push({ node: name, ...BEHIND })
      else if (node.isAwaited) silent.push({ node: name, ...NO_RECEIPT })
    }
    const lagging = [refusing, silent].flatMap(some => some.sort((a, b) => (a.node < b.node ? -1 : 1)))
    return { required: enforcing + lagging.length, enforcing, lagging }
  }

  #put(kind: ReceiptKind, id: string, policy: BookedPolicy | undefined): void {
    const before = this.#policies.get(id)
    const history = this.#kinds.get(kind)!
    if (before?.revision === policy?.revision && before?.generation === policy?.generation) return
    if (before?.revision !== policy?.revision) {
      if (before !== undefined) {
        history.digest.toggle(before.revision)
        const entry = this.#revisions.get(before.revision)!
        entry.policies.delete(id)
        this.#tidyRevision(entry)
      }
      if (policy !== undefined) {
        history.digest.toggle(policy.revision)
        this.#revisionOf(policy.revision).policies.add(id)
      }
    }
    this.#dirty.add(id)
    if (policy === undefined) this.#policies.delete(id)
    else
      this.#policies.set(id, {
        ...policy,
        count: before?.revision === policy.revision ? before.count : history.count,
      })
  }

  /** Nodes that had said what is so only now are through. */
  #noted(kind: ReceiptKind): void {
    const history = this.#kinds.get(kind)!
    history.note()
    for (const node of this.#claims.get(`${kind} ${history.digest.text}`) ?? []) node.at.set(kind, history.count)
  }

  /** Puts a node where what it says now has its place. */
  #place(kind: ReceiptKind, node: Node, before: string | undefined): void {
    const digest = node.receipt?.worked[kind]
    if (before !== digest) {
      if (before !== undefined) removeFrom(this.#claims, `${kind} ${before}`, node)
      if (digest !== undefined) addTo(this.#claims, `${kind} ${digest}`, node)
    }
    const was = node.at.get(kind) ?? SILENT
    const is = digest === undefined ? SILENT : (this.#kinds.get(kind)!.countOf(digest) ?? Math.max(UNSEEN, was))
    node.at.set(kind, is)
    // it has gone back, as after the restore of an older backup
    if (is < was) this.#allDirty()
  }

  #read(name: string, { worked, enforced, failing }: PolicyReceipt): Held {
    const faults = new Map<number, Lag>()
    for (const { revision, reason, message } of failing)
      faults.set(this.#revisionOf(revision).number, { node: name, reason, message })
    const numbers = new Set(enforced.map(revision => this.#revisionOf(revision).number))
    for (const number of faults.keys()) numbers.delete(number)
    return { worked, enforced: Uint32Array.from(numbers).sort(), failing: faults }
  }

  /** Counts what a node says now in the place of what it said before. */
  #exchange(node: Node, before: Held | undefined, after: Held | undefined): void {
    const [old, now] = [before?.enforced ?? NONE, after?.enforced ?? NONE]
    const touched = new Set<number>()
    const add = (number: number, change: 1 | -1) => {
      this.#byNumber.get(number)!.enforcing += change
      touched.add(number)
    }
    for (let i = 0, j = 0; i < old.length || j < now.length; ) {
      if (old[i] === now[j]) {
        i++
        j++
      } else if (j === now.length || old[i]! < now[j]!) add(old[i++]!, -1)
      else add(now[j++]!, 1)
    }
    for (const number of before?.failing.keys() ?? []) this.#byNumber.get(touch(touched, number))!.failing.delete(node)
    for (const number of after?.failing.keys() ?? []) this.#byNumber.get(touch(touched, number))!.failing.add(node)
    for (const number of touched) {
      const revision = this.#byNumber.get(number)!
      for (const id of revision.policies) this.#dirty.add(id)
      this.#tidyRevision(revision)
    }
  }

  #revisionOf(text: string): Revision {
    const known = this.#revisions.get(text)
    if (known !== undefined) return known
    const made = {
      number: ++this.#lastNumber,
      text,
      enforcing: 0,
      failing: new Set<Node>(),
      policies: new Set<string>(),
    }
    this.#revisions.set(text, made)
    this.#byNumber.set(made.number, made)
    return made
  }

  #tidyRevision({ number, text, enforcing, failing, policies }: Revision): void {
    if (enforcing + failing.size + policies.size > 0) return
    this.#revisions.delete(text)
    this.#byNumber.delete(number)
  }

  #tidy(name: string, { isAwaited, receipt }: Node): void {
    if (!isAwaited && receipt === undefined) this.#nodes.delete(name)
  }

  #allDirty(): void {
    for (const id of this.#policies.keys()) this.#dirty.add(id)
  }
}

const NONE = new Uint32Array()

function aNode(): Node {
  return { isAwaited: false, receipt: undefined, at: new Map() }
}

function touch(touched: Set<number>, number: number): number {
  touched.add(number)
  return number
}

/** Whether a node says of a revision that it has it, or why not. */
function saysOf({ receipt }: Node, number: number): boolean {
  if (receipt === undefined) return false
  if (receipt.failing.has(number)) return true
  let [low, high] = [0, receipt.enforced.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (receipt.enforced[middle]! < number) low = middle + 1
    else high = middle
  }
  return receipt.enforced[low] === number
}

function addTo<V>(map: Map<string, Set<V>>, key: string, value: V): void {
  map.set(key, (map.get(key) ?? new Set()).add(value))
}

function removeFrom<V>(map: Map<string, Set<V>>, key: string, value: V): void {
  const values = map.get(key)
  values?.delete(value)
  if (values?.size === 0) map.delete(key)
}
