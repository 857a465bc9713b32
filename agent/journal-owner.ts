// Whose journal a database is: of which node and machine. A copied or moved data directory holds blocks and pods of
// another node, and whoever writes with it gives addresses twice.
import { readFileSync } from 'node:fs'
import { type Database, DatabaseError, transaction } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'
import type { ClusterView } from './cluster-view.ts'

/** `machineId`: see machine-id(5); absent where this machine has none. */
export type JournalOwner = { node: string; machineId?: string }

/** The journal belongs to another node or machine. Its message says what to do. */
export class ForeignJournal extends Error {
  override readonly name = 'ForeignJournal'
}

export const MACHINE_ID = '/etc/machine-id'

/** This machine's id; undefined where there is none, or none yet (an image before its first boot). */
export function readMachineId(path = MACHINE_ID): string | undefined {
  try {
    const text = readFileSync(path, 'utf8').trim()
    return /^[0-9a-f]{32}$/.test(text) ? text : undefined
  } catch {
    return undefined // no such file, as in many containers
  }
}

/** Makes `owner` the owner of a new database. Throws `ForeignJournal` when another one has it. `path` is for the message. */
export function checkOwner(db: Database, { node, machineId }: JournalOwner, path: string): void {
  db.exec('CREATE TABLE IF NOT EXISTS owner (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT')
  const known = new Map(
    db
      .prepare('SELECT key, value FROM owner')
      .all()
      .map(row => [row['key'], row['value']]),
  )
  const refuse = (what: string, theirs: unknown, ours: string): never => {
    throw new ForeignJournal(
      `${path} belongs to ${what} ${theirs}, and this is ${ours}: remove or rename ${path} if it was copied here (pods that run are adopted from the kernel), or start with the right name`,
    )
  }
  const [theirNode, theirMachine] = [known.get('node'), known.get('machineId')]
  if (theirNode !== undefined && theirNode !== node) refuse('node', theirNode, node)
  if (theirMachine !== undefined && machineId !== undefined && theirMachine !== machineId)
    refuse('the machine', theirMachine, machineId)
  const missing = Object.entries({ node, machineId }).filter(
    ([key, value]) => value !== undefined && known.get(key) === undefined,
  )
  if (missing.length === 0) return
  const put = db.prepare('INSERT INTO owner (key, value) VALUES (?, ?)')
  transaction(db, () => {
    for (const [key, value] of missing) put.run(key, value ?? '')
  })
}

/** Notes the uid of this node's object, and says in the log when it is another one than the journal knew. */
export function followNodeUid(
  view: Pick<ClusterView, 'onChange'>,
  { node, db, log }: { node: string; db: Database; log: Log },
): void {
  view.onChange('Node', ({ key, after }) => {
    const uid = key === node ? after?.metadata.uid : undefined
    if (uid === undefined) return
    try {
      const before = db.prepare("SELECT value FROM owner WHERE key = 'nodeUid'").get()?.['value']
      if (before === uid) return
      db.prepare("INSERT OR REPLACE INTO owner (key, value) VALUES ('nodeUid', ?)").run(uid)
      if (before !== undefined)
        log.warn({ before, uid }, 'the Node object was made again: blocks that others took meanwhile are given up')
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error // noted with the next change of the object
    }
  })
}
