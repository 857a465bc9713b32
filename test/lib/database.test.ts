import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openDatabase, transaction } from '../../lib/database.ts'
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
