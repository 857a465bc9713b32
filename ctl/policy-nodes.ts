// Beside policies in wide tables: how many nodes enforce each, since when, and which lag, as their PolicyStatus says.
import { sameJson } from '../api/json.ts'
import { type Column, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { hasReceipts, policyStatusName, type ReceiptKind } from '../api/policy-receipts.ts'
import { isStoreError } from '../datastore/port.ts'
import type { Context } from './command.ts'
import type { Shown } from './output/columns.ts'

const COLUMNS: readonly Column[] = kinds.PolicyStatus.columns.filter(column => !('wide' in column))

/** The objects, policies with these columns. Where no status can be read the columns are empty, and a note says why. */
export async function withNodes(found: readonly Shown[], context: Context): Promise<readonly Shown[]> {
  if (!found.some(({ kind }) => hasReceipts(kind))) return found
  const statuses = (await statusesOf(context)) ?? new Map()
  return found.map(({ kind, object }) => (hasReceipts(kind) ? besideOf(kind, object, statuses) : { kind, object }))
}

/** `shown`: a policy with these columns as they are now. `forget`: it is gone. */
export type FollowedNodes = { shown(object: AnyObject): Shown; forget(object: AnyObject): void; close(): void }

/** The same for a watch of one kind of policies: `changed` hears of each whose columns are others. */
export async function followNodes(
  kind: ReceiptKind,
  context: Context,
  changed: (object: AnyObject) => void,
): Promise<FollowedNodes> {
  const policies = new Map<string, AnyObject>()
  const statuses = await statusesOf(context)
  const known = statuses ?? new Map<string, AnyObject>()
  const take = (name: string, status: AnyObject | undefined): void => {
    const before = known.get(name)
    if (status === undefined) known.delete(name)
    else known.set(name, status)
    const policy = policies.get(name)
    if (policy !== undefined && !sameJson(before?.['status'], status?.['status'])) changed(policy)
  }
  const server = await context.objects()
  const running =
    statuses &&
    server.watch('PolicyStatus', event => {
      const items = new Map(
        (event.type === 'sync' ? event.items : [event.item]).map(each => [each.metadata.name, each]),
      )
      if (event.type === 'sync') for (const name of [...known.keys()]) if (!items.has(name)) take(name, undefined)
      for (const [name, item] of items) take(name, event.type === 'gone' ? undefined : item)
    })
  return {
    shown: object => {
      policies.set(policyStatusName(kind, object.metadata), object)
      return besideOf(kind, object, known)
    },
    forget: ({ metadata }) => policies.delete(policyStatusName(kind, metadata)),
    close: () => running?.close(),
  }
}

function besideOf(kind: ReceiptKind, object: AnyObject, statuses: ReadonlyMap<string, AnyObject>): Shown {
  const of = statuses.get(policyStatusName(kind, object.metadata)) ?? {}
  return { kind, object, beside: COLUMNS.map(column => ({ column, of })) }
}

/** By their names; undefined where they cannot be read, after a note. */
async function statusesOf(context: Context): Promise<Map<string, AnyObject> | undefined> {
  try {
    const server = await context.objects()
    return new Map((await server.list('PolicyStatus')).map(object => [object.metadata.name, object]))
  } catch (error) {
    if (!isStoreError(error)) throw error
    context.note(`Which nodes enforce a policy is not known: ${error.message}\n`)
    return undefined
  }
}
