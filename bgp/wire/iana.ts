// Every number of the BGP registries that the speaker knows, with its name. No other file in bgp/ writes such a number.

/** RFC 4271 §4.1, RFC 2918 §3. */
export const MESSAGE = { open: 1, update: 2, notification: 3, keepalive: 4, routeRefresh: 5 } as const

export const AFI = { ipv4: 1, ipv6: 2 } as const
export const SAFI = { unicast: 1, multicast: 2 } as const

/** Path attribute type codes. */
export const ATTRIBUTE = {
  origin: 1,
  asPath: 2,
  nextHop: 3,
  med: 4,
  localPref: 5,
  atomicAggregate: 6,
  aggregator: 7,
  communities: 8,
  originatorId: 9,
  clusterList: 10,
  mpReach: 14,
  mpUnreach: 15,
  extendedCommunities: 16,
  as4Path: 17,
  as4Aggregator: 18,
  tunnelEncap: 23,
  largeCommunities: 32,
  otc: 35,
} as const

/** Attribute flags (RFC 4271 §4.3). */
export const FLAG = { optional: 0x80, transitive: 0x40, partial: 0x20, extended: 0x10 } as const

/** Capability codes (RFC 5492). */
export const CAPABILITY = {
  multiprotocol: 1,
  routeRefresh: 2,
  extendedNextHop: 5,
  extendedMessage: 6,
  role: 9,
  gracefulRestart: 64,
  fourOctetAs: 65,
  addPath: 69,
  enhancedRouteRefresh: 70,
  longLived: 71,
  hostname: 73,
  softwareVersion: 75,
} as const

/** ORIGIN values (RFC 4271 §4.3), best first. */
export const ORIGIN = { igp: 0, egp: 1, incomplete: 2 } as const

/** AS_PATH segment types (RFC 4271 §4.3, RFC 5065 §3). */
export const SEGMENT = { set: 1, sequence: 2, confedSequence: 3, confedSet: 4 } as const

/** ADD-PATH directions (RFC 7911 §4). */
export const ADD_PATH = { receive: 1, send: 2, both: 3 } as const

/** ROUTE-REFRESH subtypes (RFC 7313 §4). */
export const REFRESH = { request: 0, begin: 1, end: 2 } as const

/** BGP roles (RFC 9234 §4.1). */
export const ROLE = { provider: 0, rs: 1, 'rs-client': 2, customer: 3, peer: 4 } as const

/** NOTIFICATION codes. */
export const ERROR = { header: 1, open: 2, update: 3, holdTimer: 4, fsm: 5, cease: 6, routeRefresh: 7 } as const

export const HEADER_ERROR = { notSynchronized: 1, badLength: 2, badType: 3 } as const

export const OPEN_ERROR = {
  unspecific: 0,
  version: 1,
  peerAs: 2,
  identifier: 3,
  parameter: 4,
  holdTime: 6,
  capability: 7,
  roleMismatch: 11,
} as const

export const UPDATE_ERROR = {
  attributeList: 1,
  unknownWellKnown: 2,
  missingWellKnown: 3,
  flags: 4,
  length: 5,
  origin: 6,
  nextHop: 8,
  optional: 9,
  network: 10,
  asPath: 11,
} as const

/** RFC 6608. */
export const FSM_ERROR = { openSent: 1, openConfirm: 2, established: 3 } as const

/** RFC 4486, RFC 8538 §3 (hard reset), RFC 9384 (BFD). */
export const CEASE = {
  maximumPrefixes: 1,
  shutdown: 2,
  deconfigured: 3,
  reset: 4,
  rejected: 5,
  configurationChange: 6,
  collision: 7,
  outOfResources: 8,
  hardReset: 9,
  bfdDown: 10,
} as const

/** RFC 7313 §5. */
export const ROUTE_REFRESH_ERROR = { length: 1 } as const

/** Well-known communities (RFC 1997, 3765, 7999, 8326, 9494). */
export const COMMUNITY = {
  gracefulShutdown: 0xffff0000,
  llgrStale: 0xffff0006,
  noLlgr: 0xffff0007,
  blackhole: 0xffff029a,
  noExport: 0xffffff01,
  noAdvertise: 0xffffff02,
  noExportSubconfed: 0xffffff03,
  noPeer: 0xffffff04,
} as const

/** Names of `COMMUNITY` in the spelling that operators type. */
export const COMMUNITY_NAMES: ReadonlyMap<number, string> = new Map([
  [COMMUNITY.gracefulShutdown, 'graceful-shutdown'],
  [COMMUNITY.llgrStale, 'llgr-stale'],
  [COMMUNITY.noLlgr, 'no-llgr'],
  [COMMUNITY.blackhole, 'blackhole'],
  [COMMUNITY.noExport, 'no-export'],
  [COMMUNITY.noAdvertise, 'no-advertise'],
  [COMMUNITY.noExportSubconfed, 'no-export-subconfed'],
  [COMMUNITY.noPeer, 'no-peer'],
])

/** Used in place of an AS number that does not fit into two octets (RFC 6793 §9). */
export const AS_TRANS = 23456

const ERROR_NAMES: Readonly<Record<number, readonly [name: string, subcodes: Readonly<Record<number, string>>]>> = {
  [ERROR.header]: [
    'Message Header Error',
    {
      [HEADER_ERROR.notSynchronized]: 'Connection Not Synchronized',
      [HEADER_ERROR.badLength]: 'Bad Message Length',
      [HEADER_ERROR.badType]: 'Bad Message Type',
    },
  ],
  [ERROR.open]: [
    'OPEN Message Error',
    {
      [OPEN_ERROR.version]: 'Unsupported Version Number',
      [OPEN_ERROR.peerAs]: 'Bad Peer AS',
      [OPEN_ERROR.identifier]: 'Bad BGP Identifier',
      [OPEN_ERROR.parameter]: 'Unsupported Optional Parameter',
      [OPEN_ERROR.holdTime]: 'Unacceptable Hold Time',
      [OPEN_ERROR.capability]: 'Unsupported Capability',
      [OPEN_ERROR.roleMismatch]: 'Role Mismatch',
    },
  ],
  [ERROR.update]: [
    'UPDATE Message Error',
    {
      [UPDATE_ERROR.attributeList]: 'Malformed Attribute List',
      [UPDATE_ERROR.unknownWellKnown]: 'Unrecognized Well-known Attribute',
      [UPDATE_ERROR.missingWellKnown]: 'Missing Well-known Attribute',
      [UPDATE_ERROR.flags]: 'Attribute Flags Error',
      [UPDATE_ERROR.length]: 'Attribute Length Error',
      [UPDATE_ERROR.origin]: 'Invalid ORIGIN Attribute',
      [UPDATE_ERROR.nextHop]: 'Invalid NEXT_HOP Attribute',
      [UPDATE_ERROR.optional]: 'Optional Attribute Error',
      [UPDATE_ERROR.network]: 'Invalid Network Field',
      [UPDATE_ERROR.asPath]: 'Malformed AS_PATH',
    },
  ],
  [ERROR.holdTimer]: ['Hold Timer Expired', {}],
  [ERROR.fsm]: [
    'Finite State Machine Error',
    {
      [FSM_ERROR.openSent]: 'Unexpected Message in OpenSent',
      [FSM_ERROR.openConfirm]: 'Unexpected Message in OpenConfirm',
      [FSM_ERROR.established]: 'Unexpected Message in Established',
    },
  ],
  [ERROR.cease]: [
    'Cease',
    {
      [CEASE.maximumPrefixes]: 'Maximum Number of Prefixes Reached',
      [CEASE.shutdown]: 'Administrative Shutdown',
      [CEASE.deconfigured]: 'Peer De-configured',
      [CEASE.reset]: 'Administrative Reset',
      [CEASE.rejected]: 'Connection Rejected',
      [CEASE.configurationChange]: 'Other Configuration Change',
      [CEASE.collision]: 'Connection Collision Resolution',
      [CEASE.outOfResources]: 'Out of Resources',
      [CEASE.hardReset]: 'Hard Reset',
      [CEASE.bfdDown]: 'BFD Down',
    },
  ],
  [ERROR.routeRefresh]: ['ROUTE-REFRESH Message Error', { [ROUTE_REFRESH_ERROR.length]: 'Invalid Message Length' }],
}

/** The registry's words for a NOTIFICATION: `UPDATE Message Error/Malformed AS_PATH`; unknown numbers stay numbers. */
export function errorText(code: number, subcode: number): string {
  const row = ERROR_NAMES[code]
  if (row === undefined) return `error ${code}/${subcode}`
  const [name, subcodes] = row
  return subcode === 0 ? name : `${name}/${subcodes[subcode] ?? subcode}`
}
