import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { DatabaseError, openDatabase, transaction } from '../../lib/database.ts'
import { createLog } from '../../lib/log.ts'

test('a transaction that throws leaves nothing behind, one that returns is there after reopening', t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-db-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'sub', 'node.db')
  const db = openDatabase(path)
  db.exec('CREATE TABLE x (v INTEGER)')
  t.throws(() =>
    transaction(db, () => {
      db.exec('INSERT INTO x VALUES (1)')
      throw new Error('no')
    }),
  )
  transaction(db, () => db.exec('INSERT INTO x VALUES (2)'))
  db.close()
  const again = openDatabase(path)
  t.deepEqual(
    again
      .prepare('SELECT v FROM x')
      .all()
      .map(row => row['v']),
    [2],
  )
  t.is(statSync(join(dir, 'sub')).mode & 0o777, 0o700)
  again.close()
})

test('secrets do not reach the log', t => {
  const lines: string[] = []
  const log = createLog('test', 'info', { write: line => void lines.push(line) })
  log.info({ password: 'hunter2', peer: { password: 'hunter2', conf: { token: 'hunter2' } } }, 'configured')
  t.false(lines.join('').includes('hunter2'))
  t.true(lines.join('').includes('[redacted]'))
})

test('a full disk is a DatabaseError, inside a transaction and outside, and the transaction is undone', t => {
  const db = openDatabase(':memory:')
  db.exec('CREATE TABLE x (v BLOB)')
  db.exec('PRAGMA max_page_count = 1') // no lower than what is there: as full as it gets
  const fill = (): unknown => db.prepare('INSERT INTO x VALUES (?)').run(new Uint8Array(100_000))
  t.throws(fill, { instanceOf: DatabaseError, message: /full/ })
  t.throws(() => transaction(db, fill), { instanceOf: DatabaseError })
  t.false(db.isTransaction)
  t.deepEqual(db.prepare('SELECT count(*) AS n FROM x').get()?.['n'], 0)
})

test('an exception of the body of a transaction passes as it is', t => {
  const db = openDatabase(':memory:')
  const bug = new TypeError('ours')
  t.is(
    t.throws(() =>
      transaction(db, () => {
        throw bug
      }),
    ),
    bug,
  )
})

test('a file that is no database is a DatabaseError that names the path', t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-db-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'node.db')
  writeFileSync(path, 'x'.repeat(5000))
  t.throws(() => openDatabase(path), { instanceOf: DatabaseError, message: /node\.db cannot be opened/ })
})
