// A process that is killed at one of its operations. The list of them is what the code does: every change of the kernel, of the
// namespaces of pods, of the journal and of the API server is counted where it is asked for. One killed at a look leaves what
// one killed at the next change leaves, and so does one killed within a transaction and at its end.
import type { Store } from '../../datastore/port.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { type Database, DatabaseError } from '../../lib/database.ts'

const CHANGES = /^(create|update|patch|set|delete|add(?!resses)|change|write)/

/** What a process that is gone gets of its own writes. */
export class Gone extends DatabaseError {
  constructor() {
    super('the process is gone', undefined)
  }
}

export class Mortal {
  /** What was asked for since the last `killAt`, in order. */
  operations: string[] = []
  #at = Number.POSITIVE_INFINITY
  #died = Promise.withResolvers<'died'>()
  readonly #kill: () => void

  /** `kill`: what ends the process; absent: nothing that it asks for happens any more. */
  constructor(kill: () => void = () => {}) {
    this.#kill = kill
  }

  get died(): Promise<'died'> {
    return this.#died.promise
  }

  get isDead(): boolean {
    return this.operations.length > this.#at
  }

  /** Lets so many more operations happen; the process is killed at the next one, before its effect. */
  killAfter(operations: number): void {
    this.operations = []
    this.#at = operations
  }

  kernel(kernel: Kernel, where = 'host'): Kernel {
    return new Proxy(kernel, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function' || typeof name !== 'string') return bound(target, method)
        if (name === 'inside')
          return (...args: Parameters<Kernel['inside']>) => this.kernel(target.inside(...args), 'pod')
        if (!CHANGES.test(name)) return bound(target, method)
        return (...args: unknown[]) => {
          if (this.#lives(`${where} ${name} ${summary(args)}`)) return method.apply(target, args)
          // a synchronous one returns: the next of the others never ends
          return name === 'writeSysctl' ? undefined : new Promise(() => {})
        }
      },
    })
  }

  store(store: Store): Store {
    return new Proxy(store, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function' || typeof name !== 'string' || !CHANGES.test(name))
          return bound(target, method)
        return (...args: unknown[]) =>
          this.#lives(`store ${name} ${args[0]}`) ? method.apply(target, args) : new Promise(() => {})
      },
    })
  }

  /** Transactions of a process that is gone are left open, as on a disk: the next one rolls them back. */
  database(db: Database): Database {
    const write = <T>(sql: string, perform: () => T): T => {
      const ends = !db.isTransaction || sql === 'COMMIT'
      if (ends ? this.#lives(`db ${sql.trim().split(/\s+/).slice(0, 4).join(' ')}`) : !this.isDead) return perform()
      throw new Gone()
    }
    return new Proxy(db, {
      get: (target, name) => {
        if (name === 'exec')
          return (sql: string) => {
            if (/^(BEGIN|ROLLBACK)/.test(sql)) {
              if (!this.isDead) target.exec(sql)
            } else for (const each of sql.split(/;\s*/).filter(Boolean)) write(each, () => target.exec(each))
          }
        if (name === 'prepare')
          return (sql: string) => {
            const statement = target.prepare(sql)
            return new Proxy(statement, {
              get: (inner, method) =>
                method === 'run'
                  ? (...values: string[]) => write(sql, () => inner.run(...values))
                  : bound(inner, Reflect.get(inner, method)),
            })
          }
        return bound(target, Reflect.get(target, name, target))
      },
      set: (target, name, value) => Reflect.set(target, name, value, target),
    })
  }

  #lives(operation: string): boolean {
    this.operations.push(operation)
    if (!this.isDead) return true
    this.#kill()
    this.#died.resolve('died')
    return false
  }
}

/** No `bind`: V8 takes no bound function for Symbol.dispose. */
function bound(target: object, value: unknown): unknown {
  return typeof value === 'function' ? (...args: unknown[]) => value.apply(target, args) : value
}

function summary(args: readonly unknown[]): string {
  return args
    .map(arg => (typeof arg === 'object' ? JSON.stringify(arg, noBigInts) : String(arg)))
    .join(' ')
    .slice(0, 60)
}

function noBigInts(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}
