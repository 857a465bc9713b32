// Fields that a manifest may have and that do nothing yet: kept, so that a manifest written for Calico applies unchanged,
// and told, so that nobody relies on them. Conditions, warnings of the command line and docs/unsupported.md read these
// rows; a test compares them with the readers of every field. A row goes when its capability comes.
import type { z } from 'zod'
import { type Kind, type KindRow, kinds } from './kinds.ts'

/** `field` is a path in the spec, or `*` for all of it; `comesWith` the capability that will read it, or why it stays. */
export type Unsupported = { kind: Kind; field: string; instead: string; comesWith: string }

export const UNSUPPORTED: readonly Unsupported[] = [
  {
    ...{ kind: 'IPPool', field: 'natOutgoing' },
    instead: "packets leave the cluster with the pod's own address, which the routers outside must know",
    comesWith: 'masquerade in nftables',
  },
  {
    ...{ kind: 'IPAMConfiguration', field: 'strictAffinity' },
    instead: 'the node that owns a block is always the only one that gives its addresses away',
    comesWith: 'nothing: one writer per block is how addresses stay unique',
  },
  {
    ...{ kind: 'BlockAffinity', field: '*' },
    instead: 'the affinity of the IPAMBlock alone says whose a block is',
    comesWith: 'nothing: a second record of the same fact could differ',
  },
  {
    ...{ kind: 'BGPConfiguration', field: 'logSeverityScreen' },
    instead: 'the log level is that of --log-level',
    comesWith: 'the log level from configuration',
  },
  {
    ...{ kind: 'BGPConfiguration', field: 'nodeMeshPassword' },
    instead: 'the sessions of the node-to-node mesh have no password',
    comesWith: 'BGP passwords from Secrets',
  },
  {
    ...{ kind: 'BGPConfiguration', field: 'nodeMeshMaxRestartTime' },
    instead: 'peers are asked to keep routes for 120 s over a restart',
    comesWith: 'BGP timers from configuration',
  },
  {
    ...{ kind: 'BGPPeer', field: 'password' },
    instead: 'the session has no password, so a peer that has one does not answer',
    comesWith: 'BGP passwords from Secrets',
  },
  {
    ...{ kind: 'BGPPeer', field: 'maxRestartTime' },
    instead: 'the peer is asked to keep routes for 120 s over a restart',
    comesWith: 'BGP timers from configuration',
  },
  {
    ...{ kind: 'BGPPeer', field: 'keepaliveTime' },
    instead: 'a KEEPALIVE goes out after a third of the negotiated hold time',
    comesWith: 'BGP timers from configuration',
  },
  {
    ...{ kind: 'BGPPeer', field: 'filters' },
    instead: 'every route is taken and announced',
    comesWith: 'BGPFilter',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'interfacePrefix' },
    instead: "the pods' interfaces are called cali followed by 11 hex digits",
    comesWith: 'host endpoints',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'routeRefreshInterval' },
    instead: 'changes are repaired as the kernel tells of them, and everything is read again every 90 s',
    comesWith: 'nothing: a longer interval would only repair later',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'removeExternalRoutes' },
    instead: "unknown routes on the pods' interfaces are removed, all others are left alone",
    comesWith: 'nothing: a route that leads to a pod by another way breaks policy',
  },
  {
    ...{ kind: 'ClusterInformation', field: '*' },
    instead: 'it is stored and not read; datastoreReady does not stop a node',
    comesWith: 'the controllers',
  },
  {
    ...{ kind: 'WorkloadEndpoint', field: '*' },
    instead: "it is stored and not read; a node knows its pods' interfaces from its own journal",
    comesWith: 'network policy',
  },
]

/** Kinds whose fields a person sets: a field that is not in their schema is told too. */
export const CONFIGURATION_KINDS = [
  'IPPool',
  'IPReservation',
  'IPAMConfiguration',
  'BGPConfiguration',
  'BGPPeer',
  'FelixConfiguration',
] as const satisfies readonly Kind[]

/** A field that an object sets to something else than its default, and what happens instead. */
export type IneffectiveField = { field: string; instead: string }

/** The fields of a validated object that are set and have no effect. A field with its default value is not set. */
export function ineffectiveFields(kind: Kind, object: object): IneffectiveField[] {
  const spec = ('spec' in object ? object.spec : undefined) as Record<string, unknown> | undefined
  if (spec === undefined || spec === null) return []
  const known = specFields(kind)
  const rows = UNSUPPORTED.filter(row => row.kind === kind)
  const whole = rows.find(({ field }) => field === '*')
  if (whole !== undefined) return [{ field: 'spec', instead: whole.instead }]
  const set = rows.filter(({ field }) => field in spec && !isDefault(known.get(field), spec[field]))
  const strange = CONFIGURATION_KINDS.some(each => each === kind)
    ? Object.keys(spec).filter(field => !known.has(field))
    : []
  return [
    ...set.map(({ field, instead }) => ({ field, instead })),
    ...strange.map(field => ({ field, instead: 'this version does not know the field' })),
  ]
}

/** The fields of a kind's spec with their schemas. */
function specFields(kind: Kind): Map<string, z.core.$ZodType> {
  const { schema }: KindRow = kinds[kind]
  const shape = shapeOf(schema)
  return new Map(Object.entries(shapeOf(shape?.['spec']) ?? {}))
}

/** The fields of an object's schema, below defaults and transformations. */
function shapeOf(schema: z.core.$ZodType | undefined): Readonly<Record<string, z.core.$ZodType>> | undefined {
  const { def } = (schema as z.core.$ZodTypes | undefined)?._zod ?? {}
  switch (def?.type) {
    case 'object':
      return def.shape
    case 'pipe':
      return shapeOf(def.in)
    case 'default':
    case 'optional':
      return shapeOf(def.innerType)
    default:
      return undefined
  }
}

function isDefault(schema: z.core.$ZodType | undefined, value: unknown): boolean {
  const { def } = (schema as z.core.$ZodTypes | undefined)?._zod ?? {}
  return value === undefined || (def?.type === 'default' && def.defaultValue === value)
}
