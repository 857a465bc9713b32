// What is wrong, from what the parts of the program say of themselves. Pure.
import type { ControllerCause, ControllerCondition, ControllerConditionType } from '../api/controller-conditions.ts'
import type { Resource } from '../api/kinds.ts'
import { formatIneffective, ineffectiveFields } from '../api/unsupported.ts'
import type { StoreError } from '../datastore/port.ts'
import type { PoolForecast } from '../ipam/forecast.ts'
import { CREATED_BY } from './auto-host-endpoints.ts'
import type { Waiting } from './collector.ts'
import type { Hold } from './datastore-lock.ts'
import type { UnknownObject } from './default-object.ts'
import type { UnmadeHostEndpoint } from './host-endpoints.ts'
import type { Unassigned } from './load-balancer.ts'

export type Parts = {
  leaseFailure: StoreError | undefined
  configurationFault: UnknownObject | undefined
  lockFault: UnknownObject | undefined
  hold: Hold | undefined
  metricsFailure: Error | undefined
  failures: readonly { name: string; error: StoreError }[]
  waiting: readonly Waiting[]
  unclear: readonly { block: string; why: string }[]
  pools: readonly { pool: string; block: string }[]
  forecasts: readonly PoolForecast[]
  unmade: readonly UnmadeHostEndpoint[]
  /** Services without an address that they ask for. */
  unassigned: readonly Unassigned[]
  /** What is wrong with the reflectors that are asked for. */
  reflectors: ControllerCause<'ReflectorsPlaced'> | undefined
  /** Nodes that have not heard of the end of pods. */
  behind: readonly string[]
  configurations: readonly Resource<'KubeControllersConfiguration'>[]
}

/** One rule can refuse those of all nodes. */
const MOST_UNMADE = 20
const MOST_BEHIND = 10
/** One pool can be missing for all. */
const MOST_UNASSIGNED = 20

export function controllerConditions(parts: Parts): ControllerCondition[] {
  return [
    ...(parts.leaseFailure === undefined ? [] : [leaseUnknown(parts.leaseFailure)]),
    ...(parts.configurationFault === undefined ? [] : [configurationUnknown(parts.configurationFault)]),
    ...(parts.lockFault === undefined ? [] : [lockUnknown(parts.lockFault)]),
    ...(parts.hold === undefined ? [] : [locked(parts.hold)]),
    ...parts.failures.map(choreFailed),
    ...parts.waiting.flatMap(stays),
    ...parts.unclear.map(unclear),
    ...parts.pools.map(poolWaits),
    ...parts.forecasts.flatMap(noBlockLeft),
    ...parts.unmade.slice(0, MOST_UNMADE).map(each => hostEndpointUnmade(each, parts.unmade.length - MOST_UNMADE)),
    ...parts.unassigned
      .slice(0, MOST_UNASSIGNED)
      .map(each => unserved(each, parts.unassigned.length - MOST_UNASSIGNED)),
    ...(parts.reflectors === undefined ? [] : [broken('ReflectorsPlaced', parts.reflectors)]),
    ...nodesBehind(parts.behind),
    ...parts.configurations.flatMap(fieldsIdle),
    ...(parts.metricsFailure === undefined ? [] : [metricsUnserved(parts.metricsFailure)]),
  ]
}

function broken<T extends ControllerConditionType>(type: T, cause: ControllerCause<T>): ControllerCondition {
  return { type, status: 'False', ...cause }
}

function leaseUnknown({ message }: StoreError): ControllerCondition {
  return broken('LeaseKnown', {
    reason: 'NoLease',
    message: `the Lease cannot be read or written: ${message}`,
    remedy:
      'look at the API server, at the namespace of --lease-namespace and at the rights on leases (get, create, update)',
  })
}

/** How the object `default` of a kind can be known again. */
function howToKnow(
  reason: UnknownObject['reason'],
  kind: 'KubeControllersConfiguration' | 'ClusterInformation',
): string {
  const plural = `${kind.toLowerCase()}s`
  switch (reason) {
    case 'NotRead':
      return `look at the API server, and whether it serves ${plural}`
    case 'Forbidden':
      return `give margay-controllers the rights list and watch on ${plural}`
    case 'Invalid':
      return `correct the ${kind} default`
  }
}

function configurationUnknown({ reason, message }: UnknownObject): ControllerCondition {
  return broken('ConfigurationKnown', {
    reason,
    message: `no block of a deleted node is freed, since nobody knows whether and when it may be: ${message}`,
    remedy: howToKnow(reason, 'KubeControllersConfiguration'),
  })
}

function lockUnknown({ reason, message }: UnknownObject): ControllerCondition {
  return broken('LockKnown', {
    reason,
    message: `nothing is done, since nobody knows whether the datastore is locked: ${message}`,
    remedy: howToKnow(reason, 'ClusterInformation'),
  })
}

function locked({ reason, message }: Hold): ControllerCondition {
  return broken('DatastoreUnlocked', {
    ...{ object: { kind: 'ClusterInformation', name: 'default' } as const, reason },
    message: `no block is freed, no deleted pool goes and none is made: ${message}`,
    remedy: reason === 'Locked' ? "'margayctl datastore unlock' ends that" : 'wait: it goes on by itself',
  })
}

function choreFailed({ name, error }: { name: string; error: StoreError }): ControllerCondition {
  return broken('ChoresDone', {
    reason: error.name,
    message: `the chore ${name} failed: ${error.message}`,
    remedy: 'look at the API server, and at the rights that docs/controllers.md lists',
  })
}

function stays({ block, nodes, because, error }: Waiting): ControllerCondition[] {
  const object = { kind: 'IPAMBlock', name: block } as const
  const names = nodes.join(', ')
  if (because === 'answered')
    return [
      broken('BlocksOwned', {
        ...{ object, reason: 'OwnerAnswered' },
        message: `there is no Node ${names}, and its agent lives: the block stays`,
        remedy: `register the Node again (restart its kubelet), or stop the agent of ${names}; then its blocks are freed`,
      }),
    ]
  if (because === 'refused')
    return [
      broken('BlocksOwned', {
        ...{ object, reason: 'Refused' },
        message: `the Node ${names} is gone and its block cannot be freed: ${error?.message ?? ''}`,
        remedy: 'give margay-controllers the rights get, list, update and delete on ipamblocks',
      }),
    ]
  return [] // it takes its time
}

function unclear({ block, why }: { block: string; why: string }): ControllerCondition {
  return broken('BlocksOwned', {
    ...{ object: { kind: 'IPAMBlock', name: block } as const, reason: 'OwnerUnknown' },
    message: `nobody can tell whose the block is: ${why}`,
    remedy: 'if no pod has an address of it, delete the block',
  })
}

function poolWaits({ pool, block }: { pool: string; block: string }): ControllerCondition {
  return broken('PoolsReleased', {
    ...{ object: { kind: 'IPPool', name: pool } as const, reason: 'InUse' },
    message: `it was deleted, and pods or Services still have addresses of ${block}`,
    remedy:
      "delete or restart these pods, and let these Services ask for another pool: 'margayctl ipam show --show-blocks' shows the blocks",
  })
}

/** A pool that gives pods nothing has no pods left either, and is not told: it is disabled, say. */
function noBlockLeft({ pool, left, blocks, gives }: PoolForecast): ControllerCondition[] {
  if (!gives || blocks > 0n) return []
  return [
    broken('BlocksLeft', {
      ...{ object: { kind: 'IPPool', name: pool } as const, reason: 'NoBlock' },
      message: `no node gets a block of it any more; ${left === 1n ? '1 pod more gets' : `${left} pods more get`} an address of those that nodes have`,
      remedy:
        "create another IPPool, or look at maxBlocksPerHost and autoAllocateBlocks of the IPAMConfiguration; 'margayctl ipam show --show-blocks' has the blocks",
    }),
  ]
}

const UNMADE = {
  foreign: {
    reason: 'ForeignObject',
    why: `it was not made by this program, since it has no label ${CREATED_BY.label}: ${CREATED_BY.value}, so it stays as it is`,
    remedy: 'delete it or give it another name; with the label it is taken over, and gets the fields of the node',
  },
  name: {
    reason: 'NameTaken',
    why: 'another node or template has a HostEndpoint of that name',
    remedy: 'give each template of the KubeControllersConfiguration another generateName',
  },
  refused: {
    reason: 'Refused',
    why: 'the API server refuses it',
    remedy: 'correct what it refuses in the labels of the Node or in the template of the KubeControllersConfiguration',
  },
} as const satisfies Record<UnmadeHostEndpoint['because'], object>

/** `more`: how many others are not told. */
function hostEndpointUnmade({ name, node, because, error }: UnmadeHostEndpoint, more: number): ControllerCondition {
  const { reason, why, remedy } = UNMADE[because]
  const cause = error === undefined ? why : `${why}: ${error.message}`
  const others = more > 0 ? `; the log has ${more} others` : ''
  return broken('HostEndpointsMade', {
    ...{ object: { kind: 'HostEndpoint', name } as const, reason, remedy },
    message: `the Node ${node} does not have the HostEndpoint ${name} as it should be: ${cause}${others}`,
  })
}

/** `more`: how many others are not told. */
function unserved({ service, refused, error }: Unassigned, more: number): ControllerCondition {
  const [namespace = '', name = ''] = service.split('/')
  const others = more > 0 ? `; ${more} other Services have one too` : ''
  return broken('ServicesServed', {
    ...{ object: { kind: 'Service', name, namespace } as const, reason: refused?.reason ?? 'Refused' },
    message: `${refused?.message ?? `the API server refuses its status: ${error?.message ?? ''}`}${others}`,
    remedy: refused?.remedy ?? 'correct what it refuses; margay-controllers need the right patch on services/status',
  })
}

function nodesBehind(nodes: readonly string[]): ControllerCondition[] {
  if (nodes.length === 0) return []
  const more = nodes.length > MOST_BEHIND ? ` and ${nodes.length - MOST_BEHIND} more` : ''
  const named = nodes.slice(0, MOST_BEHIND).join(', ') + more
  return [
    broken('AddressesRested', {
      reason: 'NodesBehind',
      message: `other pods have addresses of pods that ended, and these nodes have not said that they have heard of it, so policies there may take the one for the other: ${named}`,
      remedy:
        'look at the agents of these nodes: whether they run, reach the API server, and whether KernelInSync, ConnectionsCut and ApiServerConnected are true; delete the Nodes that are gone',
    }),
  ]
}

function metricsUnserved({ message }: Error): ControllerCondition {
  return broken('MetricsServed', {
    reason: 'CannotListen',
    message: `the metrics are not served at prometheusMetricsPort: ${message}; it is tried again every few seconds`,
    remedy:
      'stop the program that has the port, or set another prometheusMetricsPort in the KubeControllersConfiguration',
  })
}

function fieldsIdle(object: Resource<'KubeControllersConfiguration'>): ControllerCondition[] {
  const fields = ineffectiveFields('KubeControllersConfiguration', object)
  if (fields.length === 0) return []
  return [
    broken('FieldsSupported', {
      object: { kind: 'KubeControllersConfiguration', name: object.metadata.name },
      reason: 'FieldsWithoutEffect',
      message: fields.map(formatIneffective).join('; '),
      remedy: 'remove the fields, or take them as not there',
    }),
  ]
}
