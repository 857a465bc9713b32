// Ends a program that has lost its lock before it writes once more: an agent that was stopped (SIGSTOP, a suspended
// machine) may go on when another one has the node. Every way to change the kernel or the cluster asks before it writes.
import type { Store } from '../datastore/port.ts'
import type { Kernel } from '../kernel/port/kernel.ts'

/** How the verbs begin that change something; all others read. */
const WRITES = /^(create|update|patch|set|delete|add|change|write)/

/** A kernel, with every kernel of a pod that is opened through it, that calls `check` before it changes anything. */
export function guardKernel(kernel: Kernel, check: () => void): Kernel {
  return guarded(kernel, check, (name, result) => (name === 'inside' ? guardKernel(result as Kernel, check) : result))
}

/** A store that calls `check` before it writes. */
export function guardStore(store: Store, check: () => void): Store {
  return guarded(store, check)
}

function guarded<T extends object>(
  target: T,
  check: () => void,
  wrap: (name: string | symbol, result: unknown) => unknown = (_name, result) => result,
): T {
  const methods = new Map<string | symbol, unknown>()
  // an empty object in its place: what a target has as a fixed property, a proxy of it must give as it is
  return new Proxy({} as T, {
    get(_target, name) {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== 'function') return method
      const known = methods.get(name)
      if (known !== undefined) return known
      const writes = typeof name === 'string' && WRITES.test(name)
      const call = (...args: unknown[]): unknown => {
        if (writes) check()
        return wrap(name, method.apply(target, args))
      }
      methods.set(name, call)
      return call
    },
  })
}
