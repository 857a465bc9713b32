// The allocator's tables in the node's own database: blocks, and who holds which address, so that the node can
// give addresses while the API server is away. Every method is one transaction, on disk when it returns. Only slots that
// changed are written: an assignment costs one small row and one fsync.
import { randomUUID } from 'node:crypto'
import { type Database, DatabaseError, transaction } from '../lib/database.ts'
import { assign, type Block, emptyBlock, type Slot } from './block.ts'

/**
 * A block of this node. `lostTo`: another node owns it by the API server, so no address
 * is assigned from it, and it is forgotten when its last address is released. `lender`: it is one address, lent to this node from
 * that block of another one.
 */
export type OwnedBlock = { readonly block: Block; readonly lostTo?: string; readonly lender?: string }

/** An address of `block` that was released, milliseconds since the epoch, and the pods that have had it. */
export type Released = {
  address: string
  block: string
  releasedMs: number
  pods: readonly { namespace: string; name: string }[]
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS ipam_blocks (
    cidr TEXT PRIMARY KEY, free TEXT NOT NULL, sequence TEXT NOT NULL, lost_to TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS ipam_slots (
    cidr TEXT NOT NULL REFERENCES ipam_blocks(cidr) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, handle TEXT NOT NULL, secondary TEXT NOT NULL, since TEXT NOT NULL,
    PRIMARY KEY (cidr, ordinal)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS ipam_resting (
    address TEXT PRIMARY KEY, cidr TEXT NOT NULL, released_ms INTEGER NOT NULL, pods TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS ipam_borrowed (
    cidr TEXT PRIMARY KEY, lender TEXT NOT NULL, lost_to TEXT, handle TEXT, secondary TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS ipam_lenders (cidr TEXT PRIMARY KEY) STRICT;
  CREATE TABLE IF NOT EXISTS ipam_journal (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
  DROP TABLE IF EXISTS ipam_inputs;
`

export class Journal {
  /** One for the life of this journal: a copy of it, or a new journal under the same node name, writes other blocks. */
  readonly epoch: string
  readonly #db: Database
  #complete: boolean

  constructor(db: Database) {
    this.#db = db
    const read = (key: string) => db.prepare('SELECT value FROM ipam_journal WHERE key = ?').get(key)?.['value']
    // together, or the tables that a killed start made would be those of an earlier version at the next one
    transaction(db, () => {
      const older = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'ipam_blocks'").get()
      db.exec(SCHEMA)
      if (read('epoch') !== undefined) return
      const put = db.prepare('INSERT INTO ipam_journal (key, value) VALUES (?, ?)')
      put.run('epoch', randomUUID())
      if (older !== undefined) put.run('complete', 'yes') // of an earlier version
    })
    this.epoch = String(read('epoch'))
    this.#complete = read('complete') !== undefined
    // once the pool was written with the block; a pool that was made again under another name lost it
    const columns = db.prepare('PRAGMA table_info(ipam_blocks)').all()
    if (columns.some(({ name }) => name === 'pool')) db.exec('ALTER TABLE ipam_blocks DROP COLUMN pool')
  }

  /** Whether this journal ever had all blocks that the API server has for this node; a new one has not. */
  get complete(): boolean {
    return this.#complete
  }

  /** From now on, also after restarts, the journal has all blocks of this node. With a full disk until the next start. */
  setComplete(): void {
    this.#complete = true
    try {
      this.#db.prepare("INSERT OR REPLACE INTO ipam_journal (key, value) VALUES ('complete', 'yes')").run()
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
    }
  }

  /** Every block, in the order in which they were claimed, and then every borrowed address. */
  blocks(): OwnedBlock[] {
    return [...this.#ownBlocks(), ...this.#borrowed()]
  }

  #borrowed(): OwnedBlock[] {
    const rows = this.#db.prepare('SELECT cidr, lender, lost_to, handle, secondary FROM ipam_borrowed ORDER BY rowid')
    return rows.all().map(({ cidr, lender, lost_to, handle, secondary }) => {
      const empty = emptyBlock(String(cidr), 0n)
      const holder = handle !== null && { handle: String(handle), secondary: JSON.parse(String(secondary)) }
      const lostTo = lost_to === null ? undefined : String(lost_to)
      return { block: holder === false ? empty : assign(empty, holder, 0), lostTo, lender: String(lender) }
    })
  }

  #ownBlocks(): OwnedBlock[] {
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

  /**
   * Writes blocks as they are now; `before` tells what the journal has of each, 'unknown' that an earlier write was
   * refused. `within` joins the transaction.
   */
  save(changes: readonly { before?: Block | 'unknown'; after: OwnedBlock }[], within?: () => void): void {
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
        if (after.lender !== undefined) {
          this.#saveBorrowed(after)
          continue
        }
        put.run(cidr, JSON.stringify(free), String(sequence), after.lostTo ?? null)
        if (before === 'unknown') this.#db.prepare('DELETE FROM ipam_slots WHERE cidr = ?').run(cidr)
        const had = before === 'unknown' ? undefined : before?.slots
        for (const [ordinal, slot] of slots.entries()) {
          if (slot === (had?.[ordinal] ?? null)) continue
          if (slot === null) dropSlot.run(cidr, ordinal)
          else putSlot.run(cidr, ordinal, slot.handle, JSON.stringify(slot.secondary), String(slot.since))
        }
      }
      within?.()
    })
  }

  #saveBorrowed({ block, lender = '', lostTo }: OwnedBlock): void {
    const [slot = null] = block.slots
    const put = this.#db.prepare(
      'INSERT OR REPLACE INTO ipam_borrowed (cidr, lender, lost_to, handle, secondary) VALUES (?, ?, ?, ?, ?)',
    )
    put.run(block.cidr, lender, lostTo ?? null, slot?.handle ?? null, slot && JSON.stringify(slot.secondary))
  }

  /** Forgets a block with everything in it. */
  forget(cidr: string): void {
    transaction(this.#db, () => {
      this.#db.prepare('DELETE FROM ipam_blocks WHERE cidr = ?').run(cidr)
      this.#db.prepare('DELETE FROM ipam_borrowed WHERE cidr = ?').run(cidr)
      this.#db.prepare('DELETE FROM ipam_resting WHERE cidr = ?').run(cidr)
    })
  }

  /** Blocks of other nodes of which this node has asked for an address, or has one. */
  lenders(): string[] {
    const rows = this.#db.prepare('SELECT cidr FROM ipam_lenders ORDER BY cidr').all()
    return rows.map(({ cidr }) => String(cidr))
  }

  noteLender(cidr: string): void {
    transaction(this.#db, () => this.#db.prepare('INSERT OR IGNORE INTO ipam_lenders (cidr) VALUES (?)').run(cidr))
  }

  /** Nothing of this node is in the block any more, nor asked for. */
  forgetLender(cidr: string): void {
    transaction(this.#db, () => this.#db.prepare('DELETE FROM ipam_lenders WHERE cidr = ?').run(cidr))
  }

  /** Notes when addresses were released. For the transaction that releases them. */
  rest(released: readonly Released[]): void {
    const put = this.#db.prepare(
      'INSERT OR REPLACE INTO ipam_resting (address, cidr, released_ms, pods) VALUES (?, ?, ?, ?)',
    )
    for (const { address, block, releasedMs, pods } of released)
      put.run(address, block, Math.floor(releasedMs), JSON.stringify(pods))
  }

  /** Forgets when addresses were released. For a transaction. */
  restEnded(addresses: readonly string[]): void {
    const drop = this.#db.prepare('DELETE FROM ipam_resting WHERE address = ?')
    for (const address of addresses) drop.run(address)
  }

  /** Whatever was noted of released addresses and not forgotten, by address. */
  resting(): Released[] {
    const rows = this.#db.prepare('SELECT * FROM ipam_resting ORDER BY address').all()
    return rows.map(({ address, cidr, released_ms, pods }) => ({
      address: String(address),
      block: String(cidr),
      releasedMs: Number(released_ms),
      pods: JSON.parse(String(pods)),
    }))
  }
}
