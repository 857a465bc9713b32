// What receipts of policies cost the controllers of a large cluster: 1,000 nodes, 10,000 policies, 1,000 of them on each node. One
// policy changes, and each node says that it has worked through it.
import { PolicyDigest, RECEIPT_KINDS, revisionOf } from '../api/policy-receipts.ts'
import type { PolicyReceipt } from '../api/receipt-schemas.ts'
import { ReceiptBook } from '../controllers/receipt-book.ts'
import type { Row } from './row.ts'

const NODES = 1_000
const POLICIES = 10_000
const ON_A_NODE = 1_000
const CHANGES = 5
const KIND = 'KubernetesNetworkPolicy'
const NONE = Object.fromEntries(RECEIPT_KINDS.map(kind => [kind, new PolicyDigest().text]))

export async function benchReceipts(): Promise<Row[]> {
  const rows: Row[] = []
  const row = (name: string, value: number, unit: string) => rows.push({ name: `receipts: ${name}`, value, unit })
  const heapMib = () => {
    globalThis.gc?.()
    return process.memoryUsage().heapUsed / 2 ** 20
  }
  const revisions = Array.from({ length: POLICIES }, (_, i) => revisionOf(idOf(i), { i }))
  const digest = new PolicyDigest()
  for (const revision of revisions) digest.toggle(revision)
  /** As it is read: texts of its own. */
  const receiptOf = (node: number): PolicyReceipt => {
    const enforced = Array.from({ length: ON_A_NODE }, (_, i) => revisions[(node * 7 + i * 10) % POLICIES]!)
    const worked = { ...NONE, [KIND]: digest.text }
    return JSON.parse(JSON.stringify({ worked, enforced, failing: [] }))
  }
  row('one receipt, as it is written', JSON.stringify(receiptOf(0)).length / 1024, 'KiB')

  const before = heapMib()
  const book = new ReceiptBook()
  const booked = (i: number) => ({ kind: KIND, revision: revisions[i]!, generation: 1 }) as const
  for (const kind of RECEIPT_KINDS) if (kind !== KIND) book.list(kind, new Map(), true)
  book.list(KIND, new Map(revisions.map((_, i) => [idOf(i), booked(i)])), true)
  for (let node = 0; node < NODES; node++) book.setReceipt(`n${node}`, receiptOf(node))
  const all = book.take(POLICIES)
  if (globalThis.gc !== undefined) row('memory with 1,000 nodes and 10,000 policies', heapMib() - before, 'MiB')
  const startMs = performance.now()
  for (const id of all) book.countOf(id)
  row('a look at one policy', ((performance.now() - startMs) / POLICIES) * 1000, 'us')

  let [saidMs, changedMs, looks] = [0, 0, 0]
  for (let change = 0; change < CHANGES; change++) {
    const next = revisionOf(idOf(change), { i: change, changed: true })
    digest.toggle(revisions[change]!)
    digest.toggle(next)
    revisions[change] = next
    const fromMs = performance.now()
    book.set(KIND, idOf(change), booked(change))
    changedMs += performance.now() - fromMs
    for (let node = 0; node < NODES; node++) {
      const receipt = receiptOf(node)
      const nowMs = performance.now()
      book.setReceipt(`n${node}`, receipt)
      saidMs += performance.now() - nowMs
    }
    looks += book.take(POLICIES).length
  }
  row('a policy changes', (changedMs / CHANGES) * 1000, 'us')
  row('a node says that it has worked through it', (saidMs / CHANGES / NODES) * 1000, 'us')
  row('policies that are looked at because of it', looks / CHANGES, 'policies')
  return rows
}

function idOf(i: number): string {
  return `${KIND} ns-${i % 1000}/policy-${i}`
}
