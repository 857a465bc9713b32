// Which policies were told, and which of them a pass has brought into the kernel: by kind the digest of all, by key the revision
// of each. What is told while a pass is under way counts from the next one on. Costs what changed.
import { PolicyDigest, RECEIPT_KINDS, type ReceiptKind } from '../../api/policy-receipts.ts'
import { put } from './multi-map.ts'

type Told = { kind: ReceiptKind; revision: string | undefined }

export class PolicyLedger {
  readonly #worked = new Map(RECEIPT_KINDS.map(kind => [kind, new PolicyDigest()]))
  readonly #applied = new Map<string, string>()
  /** What was told since the last pass began, by key. */
  #waiting = new Map<string, Told>()
  #underWay: ReadonlyMap<string, Told> = new Map()

  tell(kind: ReceiptKind, key: string, revision: string | undefined): void {
    this.#waiting.set(key, { kind, revision })
  }

  /** A pass takes in what was told. One that never ended leaves its part to this one. */
  begin(): void {
    this.#underWay = new Map([...this.#underWay, ...this.#waiting])
    this.#waiting = new Map()
  }

  /** The pass has ended. Returns whether it brought something new. */
  end(): boolean {
    const isNews = this.#underWay.size > 0
    for (const [key, { kind, revision }] of this.#underWay) {
      const before = this.#applied.get(key)
      const digest = this.#worked.get(kind)!
      if (before !== undefined) digest.toggle(before)
      if (revision !== undefined) digest.toggle(revision)
      put(this.#applied, key, revision)
    }
    this.#underWay = new Map()
    return isNews
  }

  /** The revision of a policy as of the last pass. */
  revisionOf(key: string): string | undefined {
    return this.#applied.get(key)
  }

  /** By kind. */
  get worked(): Record<string, string> {
    return Object.fromEntries([...this.#worked].map(([kind, digest]) => [kind, digest.text]))
  }
}
