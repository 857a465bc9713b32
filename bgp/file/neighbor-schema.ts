// One neighbor of margay-bgp's file, and what it becomes: a peer's configuration. Fields that contradict each other are
// refused here; what concerns several neighbors or the speaker is in contradictions.ts.
import * as z from 'zod'
import { familyOf, isLinkLocal } from '../../lib/ip.ts'
import { TCP_AO_ALGORITHMS } from '../../lib/tcp-ao.ts'
import type { PeerConfig } from '../config.ts'
import { FAMILIES } from '../family.ts'
import { asn, between, distinct, host, interfaceName, label, octets, port, prefix, seconds } from './fields.ts'
import { policy } from './policy-schema.ts'

const family = z.enum(FAMILIES, `write ${FAMILIES.join(' or ')}`)

const gracefulRestart = z.union(
  [
    z.literal(false),
    z.strictObject({
      restartTime: seconds(0, 4095).default(120),
      longLivedStaleTime: seconds(1, 16777215).optional(),
      notification: z.boolean('write true or false').optional(),
    }),
  ],
  'write false, or an object such as {restartTime: 120}',
)

const bfd = z.strictObject(
  {
    interval: between(50, 60_000, 'milliseconds, 50-60000').optional(),
    multiplier: between(1, 255, 'packets, 1-255').optional(),
    multihop: z.boolean('write true or false').optional(),
    authentication: z
      .strictObject({
        type: z.enum(['sha1', 'meticulous-sha1'], 'write sha1 or meticulous-sha1'),
        keys: z
          .array(z.strictObject({ id: between(0, 255, 'a key id, 0-255'), secret: octets(20) }))
          .min(1, 'name at least one key')
          .refine(keys => new Set(keys.map(({ id }) => id)).size === keys.length, 'two keys have one id'),
      })
      .optional(),
  },
  'write an object such as {interval: 300, multiplier: 3}',
)

const keyId = between(0, 255, 'a key id, 0-255').optional()

const tcpAo = z
  .array(
    z
      .strictObject({
        ...{ id: keyId, sendId: keyId, receiveId: keyId },
        algorithm: z.enum(TCP_AO_ALGORITHMS, `write ${TCP_AO_ALGORITHMS.join(' or ')}`).default('hmac-sha1'),
        secret: octets(80),
      })
      .refine(
        ({ id, sendId, receiveId }) =>
          id === undefined ? sendId !== undefined && receiveId !== undefined : (sendId ?? receiveId) === undefined,
        'write id, or sendId and receiveId',
      )
      .transform(({ id = 0, sendId = id, receiveId = id, algorithm, secret }) => ({
        sendId,
        receiveId,
        algorithm,
        secret,
      })),
  )
  .min(1, 'name at least one key')
  .max(16, 'at most 16 keys')
  .refine(keys => isDistinct(keys.map(({ sendId }) => sendId)), 'two keys have one sendId')
  .refine(keys => isDistinct(keys.map(({ receiveId }) => receiveId)), 'two keys have one receiveId')

const isDistinct = (values: readonly number[]) => new Set(values).size === values.length

const flag = z.boolean('write true or false').optional()

/** The longest name of a peer; a dynamic neighbour's is its range's with an address behind. */
const NAME_OCTETS = 200

const fields = z.strictObject({
  name: label(NAME_OCTETS).optional(),
  address: host.optional(),
  interface: interfaceName.optional(),
  range: prefix.optional(),
  rangeLimit: between(1, 100_000, 'neighbours, 1-100000').optional(),
  port: port.optional(),
  asn: z.union([asn, z.literal('external'), z.literal('internal')], 'write an AS number, external or internal'),
  localAs: asn.optional(),
  source: host.optional(),
  passive: flag,
  disabled: flag,
  shutdownMessage: octets(255).optional(),
  password: octets(80).optional(),
  tcpAo: tcpAo.optional(),
  multihop: between(1, 255, 'a TTL, 1-255').optional(),
  ttlSecurity: between(1, 254, 'hops, 1-254').optional(),
  bfd: bfd.optional(),
  holdTime: between(0, 65535, '0 or 3-65535 seconds')
    .refine(value => value === 0 || value >= 3, 'RFC 4271 allows 0 or 3-65535 seconds')
    .optional(),
  keepalive: seconds(1, 21845).optional(),
  connectRetry: seconds(1, 65535).optional(),
  idleHold: seconds(0, 60).optional(),
  delayOpen: seconds(0, 240).optional(),
  openHold: seconds(3, 240).optional(),
  families: distinct(family).min(1, 'name at least one family, or leave it out').optional(),
  addPath: z.strictObject({ send: flag, receive: flag }).optional(),
  extendedNextHop: flag,
  gracefulRestart: gracefulRestart.optional(),
  reflectorClient: flag,
  nextHopSelf: flag,
  nextHop: z.enum(['auto', 'self', 'keep'], 'write auto, self or keep').optional(),
  role: z
    .enum(['provider', 'rs', 'rs-client', 'customer', 'peer'], 'write provider, rs, rs-client, customer or peer')
    .optional(),
  strictRole: flag,
  allowAsIn: between(0, 10, '0-10').optional(),
  removePrivateAs: flag,
  sendCommunities: distinct(z.enum(['standard', 'extended', 'large'], 'write standard, extended or large')).optional(),
  maxPrefixes: z
    .strictObject({
      max: between(1, 4294967295, '1-4294967295'),
      warnPercent: between(1, 100, '1-100').optional(),
      restart: seconds(1, 86400).optional(),
    })
    .optional(),
  group: label(NAME_OCTETS).optional(),
  import: policy.optional(),
  export: policy.optional(),
})

export const neighbor = fields.superRefine((n, context) => {
  for (const [field, message] of contradictions(n))
    if (field === '') context.addIssue(message)
    else context.addIssue({ code: 'custom', path: [field], input: n[field], message })
})

type Neighbor = z.infer<typeof fields>

/** Fields that cannot be used together; the empty field is the neighbor as a whole. */
function* contradictions(n: Neighbor): Generator<readonly [field: keyof Neighbor | '', message: string]> {
  const { address, interface: link, range, source } = n
  if (address === undefined && link === undefined && range === undefined)
    yield ['', 'a neighbor needs an address, an interface, or a range']
  if (range !== undefined && (address ?? link) !== undefined)
    yield ['', 'a range excludes address and interface: write two neighbors']
  if (range === undefined && n.rangeLimit !== undefined) yield ['rangeLimit', 'this neighbor is no range: remove it']
  if (range !== undefined)
    for (const field of ['port', 'source'] as const)
      if (n[field] !== undefined) yield [field, 'nobody dials the neighbours of a range: remove it']
  if (range !== undefined && n.passive === false) yield ['passive', 'nobody dials the neighbours of a range: remove it']
  if (address !== undefined && isLinkLocal(address) && link === undefined)
    yield ['address', 'a link-local address needs its interface: add interface']
  if (source !== undefined && isLinkLocal(source) && link === undefined)
    yield ['source', 'a link-local address needs its interface: add interface']
  const ours = address ?? (link === undefined ? undefined : 'fe80::')
  if (source !== undefined && ours !== undefined && familyOf(source) !== familyOf(ours))
    yield ['source', `the neighbor is reached over ${familyOf(ours)}: write an address of that family, or remove it`]
  if (n.multihop !== undefined && n.ttlSecurity !== undefined)
    yield ['', 'multihop and ttlSecurity exclude each other: remove one']
  if (n.password !== undefined && n.tcpAo !== undefined) yield ['', 'password and tcpAo exclude each other: remove one']
  if (n.nextHopSelf !== undefined && n.nextHop !== undefined)
    yield ['', 'nextHopSelf is short for nextHop: self; remove one']
  if (n.strictRole && n.role === undefined) yield ['', 'strictRole needs a role']
  if (n.role !== undefined && n.asn === 'internal')
    yield ['role', 'roles are for external peers (RFC 9234): remove it, or write another asn']
  if (n.holdTime === 0 && n.keepalive !== undefined) yield ['keepalive', 'holdTime 0 means no keepalives: remove one']
  if (n.extendedNextHop && n.families !== undefined && !n.families.includes('ipv4-unicast'))
    yield ['extendedNextHop', 'it is about IPv4 routes: add ipv4-unicast to families, or remove it']
}

/** The peer that a neighbor of the file stands for. */
export function peerConfig(n: z.infer<typeof neighbor>): PeerConfig {
  const {
    holdTime,
    keepalive,
    connectRetry,
    idleHold,
    delayOpen,
    openHold,
    nextHopSelf,
    maxPrefixes,
    gracefulRestart: restart,
    bfd: asked,
    ...same
  } = n
  return {
    ...same,
    bfd: asked && {
      intervalMs: asked.interval,
      multiplier: asked.multiplier,
      multihop: asked.multihop,
      authentication: asked.authentication,
    },
    nextHop: nextHopSelf ? 'self' : n.nextHop,
    timers: {
      holdTimeSeconds: holdTime,
      keepaliveSeconds: keepalive,
      connectRetrySeconds: connectRetry,
      idleHoldSeconds: idleHold,
      delayOpenSeconds: delayOpen,
      openHoldSeconds: openHold,
    },
    prefixLimit: maxPrefixes && {
      max: maxPrefixes.max,
      warnPercent: maxPrefixes.warnPercent,
      restartSeconds: maxPrefixes.restart,
    },
    gracefulRestart: restart && {
      restartSeconds: restart.restartTime,
      longLivedSeconds: restart.longLivedStaleTime,
      notification: restart.notification,
    },
  }
}
