// The Secrets that BGP sessions of this node take their passwords from: each is watched by itself, by its name, in the namespace of the
// agents, so that the right to read that one object is enough; and only while somebody names it. What was read last counts until the server
// says another thing of that Secret: one that does not answer, does not let us read any more, or is not believed, takes no session away.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../api/kinds.ts'
import { isObjectName } from '../api/names.ts'
import { broken, type CauseOf, type Condition } from '../api/status.ts'
import { Refused, type Store, type Watch, type WatchEvent, type WatchHandlers } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import {
  forbidden,
  judgePassword,
  NO_SESSION,
  NOT_READ,
  noSecret,
  type Password,
  type SecretKey,
  tooMany,
} from './cluster/passwords.ts'
import { SecretFile, type SecretValues } from './secret-file.ts'

export type BgpSecretsDeps = {
  store: Pick<Store, 'watch'>
  /** Where the Secrets are: that of the agents. */
  namespace: string
  dataDir: string
  clock: Clock
  log: Log
  /** Whether what the API server says counts: one that lost much is not believed (`Caches.doubt`). */
  isBelieved: () => boolean
  /** Ends the program where this agent does not have its data directory any more. */
  check: () => void
  /** Secrets that cannot be read any more, and passwords that could not be kept. */
  report: (conditions: readonly Condition[]) => void
}

/** Each of them is a watch of every node. */
const MOST_SECRETS = 100
/** How long sessions wait for the first answer as they are: a password that is new to a living one then resets nothing. */
const PATIENCE_MS = 2000
/** How long after a refused write it is tried again. */
const RETRY_MS = 10_000
const FORBIDDEN = 403
const GOES_ON = 'sessions go on with the password that was read last'
const KEY = /^[-._a-zA-Z0-9]{1,253}$/

/** What a server said: of the Secret its data, or that there is none. */
type Answer = { data: Readonly<Record<string, string>> | undefined }

type Watched = {
  watch: Watch
  /** Ends the time in which an answer is waited for. */
  cancel: Cancel
  keys: ReadonlySet<string>
  /** What counts; absent: nothing was heard since the start. */
  answer?: Answer
  /** What the server says while it is not believed. */
  claim?: Answer
  /** The server does not let this agent read it. */
  isForbidden: boolean
  /** It should have answered by now. */
  isLate: boolean
}

export class BgpSecrets {
  readonly #deps: BgpSecretsDeps
  readonly #file: SecretFile
  /** Passwords in use; at the start those of the last run. */
  #kept: SecretValues
  readonly #watched = new Map<string, Watched>()
  /** What was told last of each key that is wanted, by the name of its Secret. */
  readonly #told = new Map<string, Map<string, Password>>()
  #listen: (secret: SecretKey, password: Password | undefined) => void = () => undefined
  #written: SecretValues | undefined
  /** Why the file is not written. */
  #fault: string | undefined
  #retry: Cancel = () => undefined
  #closed = false

  constructor(deps: BgpSecretsDeps) {
    this.#deps = deps
    this.#file = new SecretFile(deps.dataDir, deps.namespace)
    this.#kept = this.#file.read()
  }

  /** Calls `listen` when what is known of a key changed, also within `want`; undefined: nothing, as it is not wanted any more. */
  onChange(listen: (secret: SecretKey, password: Password | undefined) => void): void {
    this.#listen = listen
  }

  /** These keys are needed, and no others. Called again at every change of the cluster. */
  want(secrets: readonly SecretKey[]): void {
    if (this.#closed) return
    const wanted = new Map<string, Set<string>>()
    for (const { name, key } of secrets) wanted.set(name, (wanted.get(name) ?? new Set()).add(key))
    for (const [name, watched] of this.#watched) if (!wanted.has(name)) this.#end(name, watched)
    for (const [name, keys] of wanted) this.#watch(name, keys)
    for (const [name, told] of this.#told)
      for (const key of [...told.keys()]) if (wanted.get(name)?.has(key) !== true) this.#tell({ name, key }, undefined)
    for (const [name, keys] of wanted) this.#judge(name, keys)
    this.#keep()
  }

  close(): void {
    this.#closed = true
    this.#retry()
    for (const [name, watched] of this.#watched) this.#end(name, watched)
  }

  #end(name: string, { watch, cancel }: Watched): void {
    watch.close()
    cancel()
    this.#watched.delete(name)
  }

  /** Of too many Secrets those that are watched stay. */
  #watch(name: string, keys: ReadonlySet<string>): void {
    const known = this.#watched.get(name)
    if (known !== undefined) known.keys = keys
    if (known !== undefined || this.#watched.size >= MOST_SECRETS || !isObjectName(name)) return
    const { store, namespace, clock } = this.#deps
    const handlers: WatchHandlers<'Secret'> = {
      event: event => this.#heard(name, event),
      connection: ({ cause }) => this.#connection(name, cause),
    }
    const fields = { metadata: { name: true, namespace: true }, data: true } as const
    const watch = store.watch('Secret', handlers, { namespace, fieldSelector: `metadata.name=${name}`, fields })
    const cancel = clock.after(PATIENCE_MS, () => this.#changed(name, { isLate: true }))
    this.#watched.set(name, { watch, cancel, keys, isForbidden: false, isLate: false })
  }

  #heard(name: string, event: WatchEvent<'Secret'>): void {
    const secret = secretIn(event)
    this.#changed(name, { claim: { data: secret && (secret.data ?? {}) } })
  }

  #connection(name: string, cause: Error | undefined): void {
    this.#changed(name, { isForbidden: cause instanceof Refused && cause.status === FORBIDDEN })
  }

  #changed(name: string, change: Partial<Watched>): void {
    const watched = this.#watched.get(name)
    if (watched === undefined) return
    Object.assign(watched, change)
    this.#judge(name, watched.keys)
    this.#keep()
  }

  #judge(name: string, keys: ReadonlySet<string>): void {
    const watched = this.#watched.get(name)
    if (watched?.claim !== undefined && this.#deps.isBelieved()) {
      watched.answer = watched.claim
      delete watched.claim
    }
    for (const key of keys) this.#tell({ name, key }, this.#passwordOf({ name, key }))
  }

  /** Undefined while it is being read. */
  #passwordOf({ name, key }: SecretKey): Password | undefined {
    const { namespace } = this.#deps
    if (!isObjectName(name) || !KEY.test(key)) return noSecret()
    const watched = this.#watched.get(name)
    if (watched === undefined) return tooMany(name, MOST_SECRETS)
    if (watched.answer !== undefined) return judgePassword({ name, key }, watched.answer.data, namespace)
    const text = this.#kept.get(name)?.get(key)
    if (text !== undefined) return { text }
    if (watched.isForbidden) return { missing: forbidden(name, namespace, NO_SESSION) }
    return watched.isLate ? { missing: NOT_READ } : undefined
  }

  #tell({ name, key }: SecretKey, password: Password | undefined): void {
    const told = this.#told.get(name) ?? new Map<string, Password>()
    if (isDeepStrictEqual(told.get(key), password)) return
    if (password === undefined) told.delete(key)
    else told.set(key, password)
    if (told.size === 0) this.#told.delete(name)
    else this.#told.set(name, told)
    this.#listen({ name, key }, password)
  }

  /** What is in use, for the next start. */
  #keep(): void {
    const values = new Map<string, Map<string, string>>()
    for (const [name, told] of this.#told)
      for (const [key, password] of told)
        if ('text' in password) values.set(name, (values.get(name) ?? new Map()).set(key, password.text))
    this.#kept = values
    if (!isDeepStrictEqual(values, this.#written)) this.#write(values)
    this.#report()
  }

  #write(values: SecretValues): void {
    const { check, clock, log } = this.#deps
    this.#retry()
    check()
    try {
      this.#file.write(values)
      this.#written = values
      this.#fault = undefined
    } catch (error) {
      // whatever the disk says
      if (this.#fault === undefined) log.error({ err: error }, 'the passwords of BGP sessions could not be kept')
      this.#fault = (error as Error).message
      this.#retry = clock.after(RETRY_MS, () => this.#keep())
    }
  }

  #report(): void {
    const { namespace, report } = this.#deps
    report(
      [...this.#kept.keys()].flatMap(name => {
        const object = { kind: 'Secret', namespace, name } as const
        const isForbidden = this.#watched.get(name)?.isForbidden === true
        return [
          ...(isForbidden ? [broken('ApiServerConnected', { ...forbidden(name, namespace, GOES_ON), object })] : []),
          ...(this.#fault === undefined ? [] : [broken('JournalKept', { ...this.#notKept(this.#fault), object })]),
        ]
      }),
    )
  }

  #notKept(fault: string): CauseOf<'JournalKept'> {
    return {
      reason: 'PasswordNotKept',
      message: `BGP passwords could not be written to ${this.#file.path} (${fault}): an agent that starts while the API server is away has no session with them`,
      remedy: 'make room on that disk, and make it writable',
    }
  }
}

function secretIn(event: WatchEvent<'Secret'>): Resource<'Secret'> | undefined {
  if (event.type === 'sync') return event.items[0]
  return event.type === 'set' ? event.item : undefined
}
