// What margay-controllers can say of itself: a closed table, as that of a node in status.ts.
import type { CONTROLLER_REASONS } from './reasons.ts'
import type { ConditionCause } from './status.ts'

/** Without a `vital` one the program does nothing: they decide readiness. */
export const CONTROLLER_CONDITION_TYPES = {
  LeaseKnown: { vital: true, promise: 'the Lease that says who leads can be read and written' },
  ConfigurationKnown: { vital: true, promise: 'the KubeControllersConfiguration was read, and is valid' },
  LockKnown: {
    vital: true,
    promise: 'the ClusterInformation was read, and is valid: it says whether the datastore is locked',
  },
  DatastoreUnlocked: {
    vital: false,
    promise: 'the datastore is not locked (`margayctl datastore lock`), nor was it a moment ago: the chores are done',
  },
  ChoresDone: { vital: true, promise: 'the leader could do each of its chores when it last tried' },
  BlocksOwned: {
    vital: false,
    promise: 'every block belongs to a node that has a Node object, or is freed in its time',
  },
  BlocksLeft: {
    vital: false,
    promise: 'of every IPPool that gives addresses to pods, the nodes that it selects can get a block more',
  },
  PoolsReleased: { vital: false, promise: 'no deleted pool waits for its last pods or Services' },
  HostEndpointsMade: {
    vital: false,
    promise: 'every HostEndpoint that KubeControllersConfiguration asks for is there, as it should be',
  },
  ServicesServed: {
    vital: false,
    promise: 'every Service of type LoadBalancer that asks margay-controllers for addresses has them',
  },
  ReflectorsPlaced: {
    vital: false,
    promise: 'the route reflectors that the BGPConfiguration asks for are there, and no move of them waits for long',
  },
  AddressesRested: {
    vital: false,
    promise:
      'when another pod has got the address of one that ended, every node has heard of that, or says so minutes later',
  },
  MetricsServed: {
    vital: false,
    promise: 'where KubeControllersConfiguration wants metrics to be served, they are',
  },
  FieldsSupported: { vital: false, promise: 'every field that is set in KubeControllersConfiguration has an effect' },
} as const satisfies Record<string, { vital: boolean; promise: string }>

export type ControllerConditionType = keyof typeof CONTROLLER_CONDITION_TYPES

/** What is wrong, where it is known which promise is broken by it. */
export type ControllerCause<T extends ControllerConditionType> = ConditionCause<
  keyof (typeof CONTROLLER_REASONS)[T] & string
>

/** One promise that is not kept, as a whole or for one object. */
export type ControllerCondition = ConditionCause & { type: ControllerConditionType; status: 'False' }
