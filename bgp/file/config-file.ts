// The YAML file of `margay-bgp`: read, validated, turned into the speaker's own values. One schema is the source of
// names, bounds and messages; the documentation of every field is DESIGN section 8. Hazard: a file holds passwords and a
// slip of the pen can put one anywhere, so no message quotes what the file says.
import { parseDocument, type YAMLError } from 'yaml'
import { z } from 'zod'
import { type Endpoint, parseAddress, parseCidr, parseEndpoint } from '../../lib/ip.ts'
import type { BmpConfig } from '../bmp/collector.ts'
import type { Network, PeerConfig, SpeakerConfig } from '../config.ts'
import { FAMILIES } from '../family.ts'
import { nameOf } from '../peer.ts'

export type ConfigFile = {
  speaker: SpeakerConfig
  listen: readonly Endpoint[]
  /** Path of the control socket; absent: none. */
  control?: string
  kernel: 'none' | { table: number; metric?: number }
  peers: readonly PeerConfig[]
  networks: readonly Network[]
  /** BMP collectors; `name` absent: the name of this host. */
  bmp: readonly (Omit<BmpConfig, 'name' | 'description'> & { name?: string })[]
  /** A table dump to read at the start. */
  mrt?: { load: string; name?: string; import?: PeerConfig['import'] }
}

/** A configuration that cannot be used; one line per fault: the place, what is wrong, what to write instead. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(faults.join('\n'))
    this.faults = faults
  }
}

const between = (least: number, most: number, what: string) =>
  z
    .number(`write a number: ${what}`)
    .int(`write a whole number: ${what}`)
    .min(least, `too small: ${what}`)
    .max(most, `too large: ${what}`)
const asn = between(1, 4294967295, 'an AS number, 1-4294967295')
const seconds = (least: number, most: number) => between(least, most, `seconds, ${least}-${most}`)
const address = z
  .string()
  .refine(text => parseAddress(text) !== undefined, 'not an IP address; write it like 192.0.2.1 or 2001:db8::1')
  .transform(text => parseAddress(text) ?? text)
const ipv4 = address.refine(text => !text.includes(':'), 'write a dotted quad, like 192.0.2.1')
const prefix = z.string().transform((text, context) => {
  const parsed = parseCidr(text)
  if (parsed === undefined) {
    context.addIssue('not a CIDR; write it like 203.0.113.0/24')
    return z.NEVER
  }
  const canonical = `${parsed.address}/${parsed.length}`
  if (parseAddress(text.split('/')[0]!) !== parsed.address) context.addIssue(`host bits are set; write ${canonical}`)
  return canonical
})
const endpoint = z.string().transform((text, context) => {
  const found = parseEndpoint(text, 179)
  if (found !== undefined) return found
  context.addIssue('not an address with a port; write it like 192.0.2.1:179 or [2001:db8::1]:179')
  return z.NEVER
})
const family = z.enum(FAMILIES, `write ${FAMILIES.join(' or ')}`)
const community = z
  .string()
  .regex(/^\d+:\d+(:\d+)?$/, 'write a community like 65001:100, or a large one like 65001:1:2')

const rule = z.strictObject({
  action: z.enum(['accept', 'reject'], 'write accept or reject'),
  match: z
    .strictObject({
      operator: z.enum(['Equal', 'NotEqual', 'In', 'NotIn'], 'write Equal, NotEqual, In or NotIn'),
      cidr: prefix,
      lengths: z
        .strictObject({ min: between(0, 128, '0-128').optional(), max: between(0, 128, '0-128').optional() })
        .optional(),
    })
    .optional(),
  source: z.literal('RemotePeers', 'the only source is RemotePeers').optional(),
  peerType: z.enum(['eBGP', 'iBGP'], 'write eBGP or iBGP').optional(),
  interface: z.string().optional(),
  communities: z.array(community).optional(),
  asPathPrefix: z.array(asn).optional(),
  priority: between(0, 4294967295, '0-4294967295').optional(),
  operations: z
    .array(
      z.discriminatedUnion('do', [
        z.strictObject({ do: z.literal('add-community'), value: community }),
        z.strictObject({ do: z.literal('prepend-as-path'), asns: z.array(asn).min(1).max(255) }),
        z.strictObject({ do: z.literal('set-priority'), value: between(0, 4294967295, '0-4294967295') }),
      ]),
    )
    .optional(),
})
const policy = z.union(
  [z.literal('accept'), z.literal('reject'), z.array(rule)],
  'write accept, reject, or a list of rules that each have an action',
)

const neighbor = z
  .strictObject({
    name: z.string().min(1).optional(),
    address: address.optional(),
    interface: z.string().min(1).max(15).optional(),
    range: prefix.optional(),
    rangeLimit: between(1, 100_000, 'neighbours, 1-100000').optional(),
    port: between(1, 65535, 'a port, 1-65535').optional(),
    asn: z.union([asn, z.literal('external'), z.literal('internal')], 'write an AS number, external or internal'),
    localAs: asn.optional(),
    source: address.optional(),
    passive: z.boolean().optional(),
    disabled: z.boolean().optional(),
    shutdownMessage: z.string().max(255).optional(),
    password: z
      .string()
      .min(1)
      .refine(text => Buffer.byteLength(text) <= 80, 'TCP MD5 takes at most 80 octets')
      .optional(),
    multihop: between(1, 255, 'a TTL, 1-255').optional(),
    ttlSecurity: between(1, 254, 'hops, 1-254').optional(),
    holdTime: between(0, 65535, '0 or 3-65535 seconds')
      .refine(value => value === 0 || value >= 3, 'RFC 4271 allows 0 or 3-65535 seconds')
      .optional(),
    keepalive: seconds(1, 21845).optional(),
    connectRetry: seconds(1, 65535).optional(),
    idleHold: seconds(0, 60).optional(),
    delayOpen: seconds(0, 240).optional(),
    openHold: seconds(3, 240).optional(),
    families: z.array(family).min(1, 'name at least one family, or leave it out').optional(),
    addPath: z.strictObject({ send: z.boolean().optional(), receive: z.boolean().optional() }).optional(),
    extendedNextHop: z.boolean().optional(),
    gracefulRestart: z
      .union([
        z.literal(false),
        z.strictObject({
          restartTime: seconds(0, 4095).default(120),
          longLivedStaleTime: seconds(1, 16777215).optional(),
          notification: z.boolean().optional(),
        }),
      ])
      .optional(),
    reflectorClient: z.boolean().optional(),
    nextHopSelf: z.boolean().optional(),
    nextHop: z.enum(['auto', 'self', 'keep'], 'write auto, self or keep').optional(),
    role: z
      .enum(['provider', 'rs', 'rs-client', 'customer', 'peer'], 'write provider, rs, rs-client, customer or peer')
      .optional(),
    strictRole: z.boolean().optional(),
    allowAsIn: between(0, 10, '0-10').optional(),
    removePrivateAs: z.boolean().optional(),
    sendCommunities: z.array(z.enum(['standard', 'extended', 'large'], 'write standard, extended or large')).optional(),
    maxPrefixes: z
      .strictObject({
        max: between(1, 4294967295, '1-4294967295'),
        warnPercent: between(1, 100, '1-100').optional(),
        restart: seconds(1, 86400).optional(),
      })
      .optional(),
    import: policy.optional(),
    export: policy.optional(),
  })
  .superRefine((n, context) => {
    const named = [n.address ?? n.interface, n.range].filter(value => value !== undefined).length
    if (named === 0) context.addIssue('a neighbor needs an address, an interface, or a range')
    if (named > 1) context.addIssue('a range excludes address and interface: write two neighbors')
    if (n.multihop !== undefined && n.ttlSecurity !== undefined)
      context.addIssue('multihop and ttlSecurity exclude each other: remove one')
    if (n.nextHopSelf !== undefined && n.nextHop !== undefined)
      context.addIssue('nextHopSelf is short for nextHop: self; remove one')
    if (n.strictRole && n.role === undefined) context.addIssue('strictRole needs a role')
  })

const network = z.union(
  [
    prefix.transform((text): Network => ({ prefix: text })),
    z
      .strictObject({
        prefix,
        nextHop: address.optional(),
        communities: z.array(z.string().regex(/^\d{1,5}:\d{1,5}$/, 'write a community like 65001:100')).optional(),
        encapsulations: z.array(between(0, 65535, 'a tunnel type, 0-65535')).optional(),
        med: between(0, 4294967295, '0-4294967295').optional(),
        localPref: between(0, 4294967295, '0-4294967295').optional(),
      })
      .transform((n): Network => ({ ...n, communities: n.communities?.map(communityNumber) })),
  ],
  'write a CIDR like 203.0.113.0/24, or an object with a prefix',
)

const collector = z
  .strictObject({
    collector: address,
    port: between(1, 65535, 'a port, 1-65535'),
    source: address.optional(),
    name: z.string().min(1).optional(),
    stats: seconds(0, 86400).optional(),
    retry: seconds(1, 86400).optional(),
    maxRetry: seconds(1, 86400).optional(),
    bufferMiB: between(1, 1024, 'MiB, 1-1024').optional(),
  })
  .transform(({ stats, retry, maxRetry, bufferMiB, ...same }) => ({
    ...same,
    statsSeconds: stats,
    retrySeconds: retry,
    maxRetrySeconds: maxRetry,
    bufferOctets: bufferMiB === undefined ? undefined : bufferMiB << 20,
  }))

const file = z.strictObject({
  asn,
  routerId: ipv4,
  clusterId: ipv4.optional(),
  confederation: z.strictObject({ identifier: asn, members: z.array(asn) }).optional(),
  alwaysCompareMed: z.boolean().optional(),
  listen: z.array(endpoint).default([]),
  control: z.string().optional(),
  kernel: z
    .union(
      [
        z.literal('none'),
        z.strictObject({
          table: between(1, 4294967295, 'a table number'),
          metric: between(0, 4294967295, '0-4294967295').optional(),
        }),
      ],
      'write none, or table: 254',
    )
    .default('none'),
  neighbors: z.array(neighbor).default([]),
  networks: z.array(network).default([]),
  bmp: z.array(collector).default([]),
  mrt: z
    .strictObject({
      load: z.string().min(1, 'write the path of a TABLE_DUMP_V2 file'),
      name: z.string().min(1).optional(),
      import: policy.optional(),
    })
    .optional(),
})

/** Reads the text of a configuration file. Throws `ConfigError` with every fault at once. */
export function parseConfigFile(text: string): ConfigFile {
  const { listen, control, kernel, neighbors, networks, bmp, mrt, ...speaker } = check(text)
  const peers = neighbors.map(peerConfig)
  const names = new Set<string>()
  const faults = peers.flatMap((peer, i) => {
    const name = nameOf(peer)
    const twice = names.has(name)
    names.add(name)
    return twice ? [`neighbors[${i}]: another neighbor is called ${name} already; give this one a name of its own`] : []
  })
  const endpoints = bmp.map(({ collector, port }) => `${collector} port ${port}`)
  for (const [i, endpoint] of endpoints.entries())
    if (endpoints.indexOf(endpoint) < i) faults.push(`bmp[${i}]: ${endpoint} is there already; remove one`)
  if (faults.length > 0) throw new ConfigError(faults)
  return { speaker, listen, control, kernel, peers, networks, bmp, mrt }
}

function check(text: string): z.infer<typeof file> {
  const raw = fromYaml(text)
  const result = file.safeParse(raw ?? {})
  if (result.success) return result.data
  throw new ConfigError(result.error.issues.flatMap(issue => lines(issue, [])))
}

/** Warnings are faults too: what YAML takes for a tag of its own is left out of the value. */
function fromYaml(text: string): unknown {
  const document = parseDocument(text, { prettyErrors: true })
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0) throw new ConfigError(faults.map(yamlFault))
  try {
    return document.toJS()
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error
    throw new ConfigError(['not YAML: an alias (*) without its anchor; quote a text that begins with *'])
  }
}

/** The place and the kind of a fault. The library's own words quote the file. */
function yamlFault({ code, linePos }: YAMLError): string {
  const [{ line, col }] = linePos ?? [{ line: 1, col: 1 }]
  const kind = code.toLowerCase().replaceAll('_', ' ')
  return `line ${line}, column ${col}: not YAML (${kind}); quote texts with special characters`
}

/** One line per issue; what no branch of a union took is told by the branch that came nearest. */
function lines(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): string[] {
  const at = [...above, ...issue.path]
  if (issue.code === 'invalid_union') {
    const nearest = issue.errors.find(branch => branch.some(({ path, code }) => path.length > 0 || code === 'custom'))
    if (nearest !== undefined) return nearest.flatMap(inner => lines(inner, at))
  }
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map(key => `${place([...at, fieldName(key)])}: unknown field; remove it or look up its name`)
  if (issue.code === 'invalid_type' && issue.message.includes('received undefined'))
    return [`${place(at)}: missing; it is required`]
  return [`${place(at)}: ${issue.message}`]
}

/** What of a key can be the name of a field: `password:secret`, without the space, is a key as well. */
function fieldName(key: string): string {
  return /^\w{1,40}/.exec(key)?.[0] ?? '(a key)'
}

function place(path: readonly PropertyKey[]): string {
  const text = path.map(part => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('')
  return text === '' ? 'the file' : text.replace(/^\./, '')
}

function peerConfig(n: z.infer<typeof neighbor>): PeerConfig {
  const {
    holdTime,
    keepalive,
    connectRetry,
    idleHold,
    delayOpen,
    openHold,
    nextHopSelf,
    maxPrefixes,
    gracefulRestart,
    ...same
  } = n
  return {
    ...same,
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
    gracefulRestart: gracefulRestart && {
      restartSeconds: gracefulRestart.restartTime,
      longLivedSeconds: gracefulRestart.longLivedStaleTime,
      notification: gracefulRestart.notification,
    },
  }
}

function communityNumber(text: string): number {
  const [high = 0, low = 0] = text.split(':').map(Number)
  return ((high << 16) | low) >>> 0
}
