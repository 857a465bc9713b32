// Who a bearer token belongs to: the administrator's token, and the lines of a file in the form of kube-apiserver's
// --token-auth-file: `token,user,uid,"group,group"`. The file is read again when it changes, so that a token that was
// taken out of it ends, and one that was added works, without a restart.
import { createHash, randomUUID } from 'node:crypto'
import { statSync } from 'node:fs'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { readSecret } from './secret-files.ts'

export type User = { readonly name: string; readonly uid: string; readonly groups: readonly string[] }

/** Kubernetes' names: members of the first may do everything; the others are what RBAC and node authorisation know. */
export const MASTERS = 'system:masters'
const NODES = 'system:nodes'
const AUTHENTICATED = 'system:authenticated'
const NODE_PREFIX = 'system:node:'

const ADMIN: User = { name: 'system:admin', uid: randomUUID(), groups: [MASTERS, AUTHENTICATED] }
/** How long a changed file may stay unread. */
const LOOK_AGAIN_MS = 1000

export class Identities {
  readonly #admin: string
  readonly #file: string | undefined
  readonly #clock: Clock
  readonly #log: Log
  #users = new Map<string, User>()
  #stamp = ''
  #lookedMs = Number.NEGATIVE_INFINITY

  /** `adminToken` is not empty. `file` may be absent and may come later. */
  constructor({ adminToken, file, clock, log }: { adminToken: string; file?: string; clock: Clock; log: Log }) {
    this.#admin = digestOf(adminToken)
    this.#file = file
    this.#clock = clock
    this.#log = log
  }

  /** The owner of a token; undefined when nobody has it. Takes no longer for one that is nearly right. */
  userOf(token: string): User | undefined {
    this.#refresh()
    // looked up by hash, so that no comparison of the token itself can be timed
    const digest = digestOf(token)
    return digest === this.#admin ? ADMIN : this.#users.get(digest)
  }

  #refresh(): void {
    if (this.#file === undefined || this.#clock.monotonicMs() - this.#lookedMs < LOOK_AGAIN_MS) return
    this.#lookedMs = this.#clock.monotonicMs()
    const stamp = stampOf(this.#file)
    if (stamp === this.#stamp) return
    this.#stamp = stamp
    try {
      const { users, faults } = parseTokens(stamp === '' ? '' : readSecret(this.#file))
      this.#users = users
      for (const fault of faults) this.#log.warn({ file: this.#file }, fault)
    } catch (error) {
      // closed: nobody keeps a right that cannot be read any more
      this.#users = new Map()
      this.#log.error({ err: error, file: this.#file }, 'the token file cannot be read: its tokens are refused')
    }
  }
}

/** The name of the node that a user is, as Kubernetes' node authoriser reads it; undefined for everybody else. */
export function nodeNameOf({ name, groups }: User): string | undefined {
  return groups.includes(NODES) && name.startsWith(NODE_PREFIX) ? name.slice(NODE_PREFIX.length) : undefined
}

/** The line of a node in a token file. */
export function nodeTokenLine(token: string, node: string): string {
  return `${token},${NODE_PREFIX}${node},${NODE_PREFIX}${node},"${NODES}"\n`
}

/** The token that a token file's text has for a node. */
export function nodeTokenIn(text: string, node: string): string | undefined {
  const found = text
    .split('\n')
    .map(fieldsOf)
    .find(fields => fields?.user === `${NODE_PREFIX}${node}`)
  return found?.token
}

type Fields = { token: string; user: string; uid: string; groups: string[] }

function parseTokens(text: string): { users: Map<string, User>; faults: string[] } {
  const users = new Map<string, User>()
  const faults: string[] = []
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const fields = fieldsOf(line)
    if (fields === undefined) faults.push(`line ${i + 1} is left out: write token,user,uid,"group,group"`)
    else {
      const { token, user, uid, groups } = fields
      users.set(digestOf(token), { name: user, uid, groups: [...groups, AUTHENTICATED] })
    }
  }
  return { users, faults }
}

function fieldsOf(line: string): Fields | undefined {
  const parts = /^([^,"\s]{16,}),([^,"]+),([^,"]*)(?:,(?:"([^"]*)"|([^,"]*)))?$/.exec(line.trim())
  if (parts === null) return undefined
  const [, token = '', user = '', uid = '', quoted, bare] = parts
  const groups = (quoted ?? bare ?? '').split(',').map(group => group.trim())
  return { token, user: user.trim(), uid: uid.trim(), groups: groups.filter(group => group !== '') }
}

/** Changes whenever the file does; empty when there is none. */
function stampOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64')
}
