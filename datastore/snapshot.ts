// What the caches last saw, on disk: one row per object and one version per kind, so that a restart watches on from
// there instead of listing. A row may be newer than the version of its kind, never older: the watch tells the changes
// in between again, which ends in the same state. Belongs to one API server, known by the uid of its first namespace, and each
// kind to the API group that it was read from: the other group has other objects, with other versions. And each kind to the
// fields that were kept of its objects: a version from which more are kept would never hear of those that nobody changes.
import { API_GROUPS, type ApiGroup } from '../api/api-group.ts'
import { emitJson, parseJson } from '../api/json.ts'
import { type Database, transaction } from '../lib/database.ts'

const SCHEMA = `
DROP TABLE IF EXISTS snapshot;
DROP TABLE IF EXISTS snapshot_version;
CREATE TABLE IF NOT EXISTS cached_objects (
  kind TEXT NOT NULL, object TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (kind, object)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cached_versions (kind TEXT PRIMARY KEY, version TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cached_server (one INTEGER PRIMARY KEY, format TEXT NOT NULL, uid TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cached_group (one INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cached_kind_groups (kind TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cached_kind_fields (kind TEXT PRIMARY KEY, fields TEXT NOT NULL) WITHOUT ROWID;
`

/** Changes when how an object is written changes: an older file is then read anew from the server. */
const FORMAT = '3'

export type SnapshotRow = { kind: string; key: string; object: object | undefined }

/** Of which API group objects of a kind are, and which of their fields were kept, as a text; undefined: not of one alone. */
export type Origin = { group: ApiGroup | undefined; fields: string | undefined }

export class Snapshot {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
    transaction(db, () => {
      db.exec(SCHEMA)
      const row = db.prepare('SELECT format FROM cached_server').get()
      if (row?.['format'] !== FORMAT) this.#forget('')
      // as an earlier version left it: all kinds of one group, without the name of a group of the one that it knew
      db.prepare('INSERT OR IGNORE INTO cached_kind_groups SELECT kind, ? FROM cached_versions').run(
        this.apiGroup ?? 'v3',
      )
    })
  }

  /** The uid of the server that the rows came from; '' before the first. */
  get server(): string {
    return String(this.#db.prepare('SELECT uid FROM cached_server').get()?.['uid'] ?? '')
  }

  /** The API group that the last run found; undefined before the first. */
  get apiGroup(): ApiGroup | undefined {
    const name = this.#db.prepare('SELECT name FROM cached_group').get()?.['name']
    return API_GROUPS.find(each => each === name)
  }

  /** Throws DatabaseError. */
  noteApiGroup(group: ApiGroup): void {
    transaction(this.#db, () => {
      this.#db.prepare('INSERT OR REPLACE INTO cached_group VALUES (1, ?)').run(group)
    })
  }

  /** From now on the rows are those of another server; the old ones are deleted. */
  adopt(uid: string): void {
    transaction(this.#db, () => this.#forget(uid))
  }

  /** The objects of a kind as they were written, their version and origin; undefined when the kind was never seen whole. */
  read(kind: string): { objects: object[]; version: string; origin: Origin } | undefined {
    const version = this.#db.prepare('SELECT version FROM cached_versions WHERE kind = ?').get(kind)?.['version']
    if (version === undefined) return undefined
    const name = this.#db.prepare('SELECT name FROM cached_kind_groups WHERE kind = ?').get(kind)?.['name']
    const group = API_GROUPS.find(each => each === name)
    const kept = this.#db.prepare('SELECT fields FROM cached_kind_fields WHERE kind = ?').get(kind)?.['fields']
    const origin = { group, fields: kept === undefined || kept === '' ? undefined : String(kept) }
    const rows = this.#db.prepare('SELECT json FROM cached_objects WHERE kind = ?').all(kind)
    return { objects: rows.map(({ json }) => parseJson(String(json)) as object), version: String(version), origin }
  }

  /**
   * Writes rows (a row without object is deleted) and versions, all or none; `group`, and `fieldsOf` a kind: their origin. Throws
   * DatabaseError.
   */
  write(
    rows: readonly SnapshotRow[],
    versions: ReadonlyMap<string, string>,
    { group, fieldsOf }: { group: ApiGroup; fieldsOf: (kind: string) => string },
  ): void {
    const put = this.#db.prepare('INSERT OR REPLACE INTO cached_objects VALUES (?, ?, ?)')
    const remove = this.#db.prepare('DELETE FROM cached_objects WHERE kind = ? AND object = ?')
    const advance = this.#db.prepare('INSERT OR REPLACE INTO cached_versions VALUES (?, ?)')
    // until the version of the new origin is there too, the rows may be of both
    const mix = this.#db.prepare("UPDATE cached_kind_groups SET name = '' WHERE kind = ? AND name <> ?")
    const mixFields = this.#db.prepare("UPDATE cached_kind_fields SET fields = '' WHERE kind = ? AND fields <> ?")
    const belong = this.#db.prepare('INSERT OR REPLACE INTO cached_kind_groups VALUES (?, ?)')
    const keep = this.#db.prepare('INSERT OR REPLACE INTO cached_kind_fields VALUES (?, ?)')
    transaction(this.#db, () => {
      for (const kind of new Set(rows.map(row => row.kind))) {
        mix.run(kind, group)
        mixFields.run(kind, fieldsOf(kind))
      }
      for (const { kind, key, object } of rows)
        if (object === undefined) remove.run(kind, key)
        else put.run(kind, key, emitJson(object))
      for (const [kind, version] of versions) {
        advance.run(kind, version)
        belong.run(kind, group)
        keep.run(kind, fieldsOf(kind))
      }
    })
  }

  #forget(uid: string): void {
    for (const table of [
      'cached_objects',
      'cached_versions',
      'cached_kind_groups',
      'cached_kind_fields',
      'cached_server',
    ])
      this.#db.exec(`DELETE FROM ${table}`)
    this.#db.prepare('INSERT INTO cached_server VALUES (1, ?, ?)').run(FORMAT, uid)
  }
}
