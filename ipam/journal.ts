// The allocator's tables in the node's own database: blocks, and who holds which address, so that the node can
// give addresses while the API server is away. Every method is one transaction, on disk when it returns. Only slots that
// changed are written: an assignment costs one small row and one fsync.
import { type Database, transaction } from '../lib/database.ts'
import { type Block, emptyBlock, type Slot } from './block.ts'

/**
 * A block of this node. `lostTo`: another node owns it by the API server, so no address
 * is assigned from it, and it is forgotten when its last address is released.
 */
export type OwnedBlock = { readonly block: Block; readonly lostTo?: string }

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS ipam_blocks (
    cidr TEXT PRIMARY KEY, free TEXT NOT NULL, sequence TEXT NOT NULL, lost_to TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS ipam_slots (
    cidr TEXT NOT NULL REFERENCES ipam_blocks(cidr) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, handle TEXT NOT NULL, secondary TEXT NOT NULL, since TEXT NOT NULL,
    PRIMARY KEY (cidr, ordinal)
  ) STRICT;
  DROP TABLE IF EXISTS ipam_inputs;
`

export class Journal {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
    db.exec(SCHEMA)
    // once the pool was written with the block; a pool that was made again under another name lost it
    const columns = db.prepare('PRAGMA table_info(ipam_blocks)').all()
    if (columns.some(({ name }) => name === 'pool')) db.exec('ALTER TABLE ipam_blocks DROP COLUMN pool')
  }

  /** Every block, in the order in which they were claimed. */
  blocks(): OwnedBlock[] {
    const rows = this.#db.prepare('SELECT cidr, free, sequence, lost_to FROM ipam_blocks ORDER BY rowid').all()
    const slotRows = this.#db.prepare('SELECT ordinal, handle, secondary, since FROM ipam_slots WHERE cidr = ?')
    return rows.map(row => {
      const cidr = String(row['cidr'])
      const slots: (Slot | null)[] = [...emptyBlock(cidr, 0n).slots]
      for (const slot of slotRows.all(cidr))
        slots[Number(slot['ordinal'])] = {
          handle: String(slot['handle']),
          secondary: JSON.parse(String(slot['secondary'])),
          since: BigInt(String(slot['since'])),
        }
      const free: number[] = JSON.parse(String(row['free']))
      const block = { cidr, slots, free, sequence: BigInt(String(row['sequence'])) }
      const lostTo = row['lost_to']
      return { block, lostTo: lostTo === null ? undefined : String(lostTo) }
    })
  }

  /** Writes blocks as they are now; `before` tells what the journal has of each. `within` joins the transaction. */
  save(changes: readonly { before?: Block; after: OwnedBlock }[], within?: () => void): void {
    const put = this.#db.prepare(
      `INSERT INTO ipam_blocks (cidr, free, sequence, lost_to) VALUES (?, ?, ?, ?)
       ON CONFLICT (cidr) DO UPDATE SET
         free = excluded.free, sequence = excluded.sequence, lost_to = excluded.lost_to`,
    )
    const putSlot = this.#db.prepare(
      'INSERT OR REPLACE INTO ipam_slots (cidr, ordinal, handle, secondary, since) VALUES (?, ?, ?, ?, ?)',
    )
    const dropSlot = this.#db.prepare('DELETE FROM ipam_slots WHERE cidr = ? AND ordinal = ?')
    transaction(this.#db, () => {
      for (const { before, after } of changes) {
        const { cidr, slots, free, sequence } = after.block
        put.run(cidr, JSON.stringify(free), String(sequence), after.lostTo ?? null)
        for (const [ordinal, slot] of slots.entries()) {
          if (slot === (before?.slots[ordinal] ?? null)) continue
          if (slot === null) dropSlot.run(cidr, ordinal)
          else putSlot.run(cidr, ordinal, slot.handle, JSON.stringify(slot.secondary), String(slot.since))
        }
      }
      within?.()
    })
  }

  /** Forgets a block with everything in it. */
  forget(cidr: string): void {
    transaction(this.#db, () => {
      this.#db.prepare('DELETE FROM ipam_blocks WHERE cidr = ?').run(cidr)
    })
  }
}
