// The fields of margay-bgp's file; DESIGN section 8 is their documentation.
import * as z from 'zod'
import { familyOf, isLinkLocal } from '../../lib/ip.ts'
import { MONITORED_TABLES } from '../bmp/config.ts'
import { MOST_PATHS, type Network } from '../config.ts'
import {
  asn,
  between,
  community,
  distinct,
  host,
  identifier,
  label,
  listenEndpoint,
  nextHop,
  path,
  port,
  prefix,
  seconds,
  u32,
} from './fields.ts'
import { neighbor } from './neighbor-schema.ts'
import { policy } from './policy-schema.ts'

/** Octets of `sun_path` without its end (unix(7)). */
const SOCKET_PATH_OCTETS = 107
const PATH_OCTETS = 4095
/** More would not fit a message of 4096 octets beside the other attributes. */
const MOST_COMMUNITIES = 255
/** Linux: the table of the host's own addresses, which only the kernel writes. */
const LOCAL_TABLE = 255

const network = z.union(
  [
    prefix.transform((text): Network => ({ prefix: text })),
    z
      .strictObject({
        prefix,
        nextHop: nextHop.optional(),
        communities: z.array(community).max(MOST_COMMUNITIES, `at most ${MOST_COMMUNITIES}`).optional(),
        encapsulations: distinct(between(1, 65534, 'a tunnel type, 1-65534'))
          .max(16, 'at most 16')
          .optional(),
        med: u32.optional(),
        localPref: u32.optional(),
      })
      .superRefine((n, context) => {
        if (n.nextHop === undefined || familyOf(n.prefix) === 'ipv4' || familyOf(n.nextHop) === 'ipv6') return
        const message = 'an IPv6 prefix needs an IPv6 next hop; write one, or remove it'
        context.addIssue({ code: 'custom', path: ['nextHop'], input: n.nextHop, message })
      }),
  ],
  'write a CIDR like 203.0.113.0/24, or an object with a prefix',
)

const collector = z
  .strictObject({
    collector: host,
    port,
    source: host.optional(),
    name: label(255).optional(),
    monitor: distinct(
      z.enum(MONITORED_TABLES, `write ${MONITORED_TABLES.slice(0, -1).join(', ')} or ${MONITORED_TABLES.at(-1)}`),
    )
      .min(1, 'empty: name a table or leave the field out')
      .optional(),
    stats: seconds(0, 86400).optional(),
    retry: seconds(1, 86400).optional(),
    maxRetry: seconds(1, 86400).optional(),
    bufferMiB: between(1, 1024, 'MiB, 1-1024').optional(),
  })
  .superRefine((c, context) => {
    const wrong = (field: 'collector' | 'source' | 'retry', message: string) =>
      context.addIssue({ code: 'custom', path: [field], input: c[field], message })
    for (const field of ['collector', 'source'] as const)
      if (c[field] !== undefined && isLinkLocal(c[field]))
        wrong(field, 'a link-local address leads nowhere without an interface; write a global one')
    if (c.source !== undefined && familyOf(c.source) !== familyOf(c.collector))
      wrong('source', 'not of the family of the collector; write one that is, or remove it')
    if (c.retry !== undefined && c.retry > (c.maxRetry ?? DEFAULT_MAX_RETRY))
      wrong('retry', `above maxRetry, which is ${c.maxRetry ?? DEFAULT_MAX_RETRY}; raise that or lower this`)
  })
  .transform(({ stats, retry, maxRetry, bufferMiB, ...same }) => ({
    ...same,
    statsSeconds: stats,
    retrySeconds: retry,
    maxRetrySeconds: maxRetry,
    bufferOctets: bufferMiB === undefined ? undefined : bufferMiB << 20,
  }))

/** RFC 7854 §3.2. */
const DEFAULT_MAX_RETRY = 720

const multipath = z.strictObject({
  paths: between(1, MOST_PATHS, `a number of paths, 1-${MOST_PATHS}`),
  of: z.enum(['ebgp', 'ibgp', 'either', 'merge'], 'write ebgp, ibgp, either or merge'),
  asPath: z.enum(['length', 'same'], 'write length or same').optional(),
  weights: z.literal('link-bandwidth', 'write link-bandwidth, or leave it out for equal shares').optional(),
})

const kernel = z.union(
  [
    z.literal('none'),
    z.strictObject({
      table: between(1, 4294967295, 'a table number, 1-4294967295').refine(
        table => table !== LOCAL_TABLE,
        "table 255 is the one of the host's own addresses; write another, 254 is the main one",
      ),
      // the kernel takes 0 for "no metric" and makes 1024 of it for IPv6
      metric: between(1, 4294967295, "1-4294967295; leave it out for the kernel's own").optional(),
      protocol: between(5, 255, 'a number that no other routing program of this host uses, 5-255').optional(),
      resilient: z
        .strictObject({
          // at least one for each path that there can be
          buckets: between(64, 65535, 'how many parts the flows fall into, 64-65535'),
          idleSeconds: between(0, 86400, 'seconds, 0-86400').default(120),
        })
        .optional(),
    }),
  ],
  'write none, or table: 254',
)

const nextHops = z.union(
  [z.literal('none'), z.strictObject({ defaultRoute: z.boolean('write true or false').default(false) })],
  'write none, or defaultRoute: true',
)

export const file = z.strictObject({
  asn,
  routerId: identifier,
  clusterId: identifier.optional(),
  confederation: z.strictObject({ identifier: asn, members: distinct(asn) }).optional(),
  alwaysCompareMed: z.boolean('write true or false').optional(),
  multipath: multipath.optional(),
  drain: z.boolean('write true or false').default(false),
  listen: z.array(listenEndpoint).default([]),
  control: path(SOCKET_PATH_OCTETS).optional(),
  kernel: kernel.default('none'),
  nextHops: nextHops.optional(),
  neighbors: z.array(neighbor).default([]),
  networks: z.array(network).default([]),
  bmp: z.array(collector).default([]),
  mrt: z
    .strictObject({
      load: path(PATH_OCTETS),
      name: label(255).optional(),
      import: policy.optional(),
    })
    .optional(),
})
