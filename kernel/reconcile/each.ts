// Reads and writes of single objects, for the kinds that have no batch: a few under way at once, each with its own
// answer.
import { KernelError } from '../port/error.ts'
import type { LinkView } from './link-view.ts'
import { failureOf, noInterface, type WriteFailure } from './outcome.ts'
import type { Write } from './table.ts'

/** Under way at a time: their answers fit the socket's receive buffer. */
const AT_ONCE = 64

/** Carries out `writes` with `run`, in order of sending. A removal whose interface is gone has nothing left to do. */
export async function writeEach<V extends { interfaceName: string }>(
  links: LinkView,
  writes: readonly Write<V>[],
  run: (verb: 'put' | 'delete', value: V, ifindex: number) => Promise<void>,
): Promise<(WriteFailure | undefined)[]> {
  const failures: (WriteFailure | undefined)[] = []
  const one = async ({ verb, key, value }: Write<V>): Promise<WriteFailure | undefined> => {
    const link = await links.find(value.interfaceName)
    if (link === undefined) return verb === 'delete' ? undefined : noInterface(value.interfaceName)
    try {
      await run(verb === 'delete' ? 'delete' : 'put', value, link.index)
      return undefined
    } catch (error) {
      if (error instanceof KernelError) return failureOf(error, key)
      throw error
    }
  }
  for (let from = 0; from < writes.length; from += AT_ONCE)
    failures.push(...(await Promise.all(writes.slice(from, from + AT_ONCE).map(one))))
  return failures
}

/** The present state of objects, each asked for with `read`; undefined where the interface is not there. */
export async function lookEach<V extends { interfaceName: string }>(
  links: LinkView,
  objects: readonly { key: string; like: V }[],
  read: (like: V, ifindex: number) => Promise<V | undefined>,
): Promise<(readonly [string, V | undefined])[]> {
  const found: (readonly [string, V | undefined])[] = []
  for (const { key, like } of objects) {
    const link = await links.find(like.interfaceName)
    found.push([key, link && (await read(like, link.index))])
  }
  return found
}
