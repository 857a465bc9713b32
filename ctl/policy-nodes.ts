// Beside policies in wide tables: how many nodes enforce each, since when, and which lag, as their PolicyStatus says.
import { type Column, kinds } from '../api/kinds.ts'
import { hasReceipts, policyStatusName } from '../api/policy-receipts.ts'
import { isStoreError } from '../datastore/port.ts'
import type { Context } from './command.ts'
import type { Shown } from './output/columns.ts'

const COLUMNS: readonly Column[] = kinds.PolicyStatus.columns.filter(column => !('wide' in column))

/** The objects, policies with these columns. Where no status can be read the columns are empty, and a note says why. */
export async function withNodes(found: readonly Shown[], context: Context): Promise<readonly Shown[]> {
  if (!found.some(({ kind }) => hasReceipts(kind))) return found
  const statuses = await statusesOf(context)
  return found.map(({ kind, object }) => {
    if (!hasReceipts(kind)) return { kind, object }
    const status = statuses.get(policyStatusName(kind, object.metadata)) ?? {}
    return { kind, object, beside: COLUMNS.map(column => ({ column, of: status })) }
  })
}

async function statusesOf(context: Context): Promise<Map<string, object>> {
  try {
    const server = await context.objects()
    return new Map((await server.list('PolicyStatus')).map(object => [object.metadata.name, object]))
  } catch (error) {
    if (!isStoreError(error)) throw error
    context.note(`Which nodes enforce a policy is not known: ${error.message}\n`)
    return new Map()
  }
}
