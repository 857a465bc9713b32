// What is wrong with the pools and with this node's blocks, as conditions. Pure.
import type { IpPool } from '../api/pools.ts'
import { broken, type Condition, unknown } from '../api/status.ts'
import { Conflict, isStoreError, NotFound, Refused } from '../datastore/port.ts'
import type { OwnedBlock } from './journal.ts'
import { overlappingPools, type Selects, servesSomePod } from './pick.ts'

export type IpamState = {
  /** Undefined while no pool was ever seen. */
  pools: readonly IpPool[] | undefined
  selects: Selects
  blocks: readonly OwnedBlock[]
  /** Blocks that the API server does not have as they are, and the last reason why not. */
  unpublished: { blocks: readonly string[]; cause?: Error }
}

/** Empty when all is well. */
export function ipamConditions({ pools, selects, blocks, unpublished }: IpamState): Condition[] {
  if (pools === undefined) return [NEVER_SEEN]
  const conditions: Condition[] = [...noPoolServes(pools, selects)]
  for (const { refused, because } of overlappingPools(pools))
    conditions.push(
      broken('PoolsDisjoint', {
        reason: 'Overlap',
        message: `IPPool ${refused} overlaps the older IPPool ${because} and is not used`,
        remedy: 'delete one of them',
        object: { kind: 'IPPool', name: refused },
      }),
    )
  for (const { block, lostTo } of blocks)
    if (lostTo !== undefined)
      conditions.push(
        broken('BlocksOwned', {
          reason: 'LostBlock',
          message: `${block.cidr} belongs to ${lostTo} now`,
          remedy: 'restart the pods of this node that have its addresses',
          object: { kind: 'Block', name: block.cidr },
        }),
      )
  const { blocks: waiting, cause } = unpublished
  if (cause !== undefined && waiting.length > 0)
    conditions.push(
      broken('BlocksPublished', {
        reason: isStoreError(cause) ? cause.name : 'DatabaseError',
        message: `${waiting.length === 1 ? '1 block waits' : `${waiting.length} blocks wait`} to be published: ${cause.message}`,
        remedy: `${publishRemedy(cause)}; the journal has them until then`,
      }),
    )
  return conditions
}

function publishRemedy(cause: Error): string {
  if (cause instanceof NotFound) return 'apply the CRDs: the API server serves no IPAMBlocks'
  if (cause instanceof Conflict) return 'look for another program that writes the IPAMBlocks of this node'
  if (!(cause instanceof Refused)) return 'look at ApiServerConnected and NodeObjectKnown'
  if (cause.status === 401) return 'give this node a token or client certificate that is valid'
  if (cause.status === 403) return 'let the user of this node get, create and update ipamblocks (RBAC)'
  return 'look at what the API server says, and at its admission policies and webhooks'
}

const NEVER_SEEN: Condition = unknown('PoolsKnown', {
  reason: 'NotSeen',
  message: 'no IPPool was ever seen',
  remedy: 'look at the condition ApiServerConnected; when that is fine, create an IPPool',
})

function noPoolServes(pools: readonly IpPool[], selects: Selects): Condition[] {
  if (servesSomePod(pools, selects)) return []
  if (pools.length === 0)
    return [
      broken('PoolsUsable', {
        reason: 'NoPool',
        message: 'there is no IPPool: pods of this node get no address',
        remedy: 'create an IPPool',
      }),
    ]
  const disabled = pools.filter(({ spec }) => spec.disabled).map(({ metadata }) => metadata.name)
  const names = pools.map(({ metadata }) => metadata.name).join(', ')
  return [
    disabled.length === pools.length
      ? broken('PoolsUsable', {
          reason: 'AllDisabled',
          message: `every IPPool is disabled (${names}): pods of this node get no new address`,
          remedy: `enable one: margayctl patch ippool ${disabled[0]} -p '{"spec":{"disabled":false}}'`,
        })
      : broken('PoolsUsable', {
          reason: 'NoPoolForNode',
          message: `none of the IPPools (${names}) serves pods of this node`,
          remedy: 'check disabled, nodeSelector and allowedUses of the pools, and the labels of the Node',
        }),
  ]
}
