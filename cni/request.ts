// Parses and checks the request of a runtime: CNI_ variables and the JSON of standard input (SPEC 1.1.0, sections 1 and
// 2).
import { type Family, familyOf } from '../lib/ip.ts'
import { jsonFault } from '../lib/json-fault.ts'
import { addressesAsked, askedFor, dnsOf } from './asked-for.ts'
import { type Delegated, delegateIfAny, delegateOf, parseDelegated, podCidrsIn } from './delegate.ts'
import { CNI_CODE, CniError } from './error.ts'
import { badField, field, isObject, typed } from './fields.ts'
import { type Behind, behindOf } from './ipam/delegating.ts'
import { type CniVerb, type KeyName, refusedOfIpam, VERBS } from './keys.ts'
import { pinPath } from './netns.ts'
import { atLeast, CNI_VERSIONS, type PrevResult, parseResult } from './result.ts'

/** One container's interface. */
export type Attachment = { containerID: string; ifname: string }

export type PodName = { namespace: string; name: string; uid?: string }

/** The fields of the network configuration that we use. */
export type NetConf = {
  cniVersion: string
  /** The network's name. */
  name: string
  families: readonly Family[]
  /** Beside those: where a pool serves the pod. */
  ifServed: readonly Family[]
  /** Pool names or CIDRs of a family; absent: whatever selects this node. */
  pools?: Readonly<Partial<Record<Family, readonly string[]>>>
  /** The addresses, at most one of each family, and the MAC that CNI_ARGS, `args` or `runtimeConfig` ask for. */
  addresses?: readonly string[]
  mac?: string
  /** Bytes; absent: the MTU of the node's pods. */
  mtu?: number
  dns?: Readonly<Record<string, unknown>>
  /** The plugin that gives the addresses in our place, and of which families it shall give those of the node's podCIDR. */
  delegate?: string
  usesPodCidr?: readonly Family[]
  /** Of the configuration of another plugin, which executes us for its addresses: what it needs beside them. */
  behind?: Behind
  prevResult?: PrevResult
}

/** `netns`: the path by which the agent enters it. `sandbox`: the one that the runtime gave, which is in results. */
type Namespace = { netns: string; sandbox: string }

export type AddRequest = {
  verb: 'ADD'
  conf: NetConf
  /** CNI_NETNS_OVERRIDE: the namespace may be the host's own. */
  hostNetns: boolean
  pod?: PodName
  /** What the other plugin gave. */
  delegated?: Delegated
} & Namespace &
  Attachment
export type DelRequest = { verb: 'DEL'; conf: NetConf; netns?: string; pod?: PodName } & Attachment
export type CheckRequest = { verb: 'CHECK'; conf: NetConf; pod?: PodName } & Namespace & Attachment
export type GcRequest = { verb: 'GC'; conf: NetConf; valid: readonly Attachment[] }
export type StatusRequest = { verb: 'STATUS'; conf: NetConf }
export type VersionRequest = { verb: 'VERSION'; cniVersion: string }
export type CniRequest = AddRequest | DelRequest | CheckRequest | GcRequest | StatusRequest | VersionRequest

/**
 * `netns`: the number of the namespace, which the plugin mounted for us (`pins.ts`). Absent: CNI_NETNS is seen here too.
 * `delegated`: what another plugin printed that the plugin executed (`delegate.ts`).
 */
export type RawRequest = { env: Readonly<Record<string, string>>; stdin: string; netns?: number; delegated?: string }

/** Whose configuration a request has: ours, or that of another plugin, which asks for addresses (`ipam/`). */
export type Whose = 'our' | 'another'

/** Checks everything that needs no look at the node. Throws `CniError`. */
export function parseRequest({ env, stdin, netns: number, delegated }: RawRequest, whose: Whose = 'our'): CniRequest {
  const verb = parseVerb(env['CNI_COMMAND'])
  if (verb === 'VERSION') return { verb, cniVersion: versionOf(stdin) }
  const missing = VERBS[verb].needs.filter(name => (env[name] ?? '') === '')
  if (missing.length > 0)
    throw environment(`required env variables [${missing.join(',')}] missing`, `the runtime must set them for ${verb}`)
  const json = parseStdin(stdin)
  if (verb === 'STATUS') return { verb, conf: parseConf(verb, json, {}, whose) }
  if (verb === 'GC') return { verb, conf: parseConf(verb, json, {}, whose), valid: parseValid(json) }
  const args = parseArgs(env['CNI_ARGS'] ?? '', verb)
  const containerID = env['CNI_CONTAINERID'] ?? ''
  const ifname = env['CNI_IFNAME'] ?? ''
  checkContainerId(containerID)
  checkIfname(ifname)
  const sandbox = env['CNI_NETNS'] ?? ''
  if (verb !== 'DEL') checkNetns(sandbox)
  const netns = number === undefined ? sandbox : pinPath(number)
  const common = { containerID, ifname, conf: parseConf(verb, json, args, whose), pod: podOf(args) }
  if (verb === 'DEL') return { verb, ...common, netns: netns === '' ? undefined : netns }
  if (verb === 'CHECK' && common.conf.prevResult === undefined)
    throw new CniError(CNI_CODE.config, 'CHECK needs a prevResult', 'the runtime must hand over the result of ADD')
  if (verb === 'CHECK') return { verb, ...common, netns, sandbox }
  const add = { verb, ...common, netns, sandbox, hostNetns: env['CNI_NETNS_OVERRIDE'] === '1' }
  const { delegate } = common.conf
  if (delegated === undefined || delegate === undefined) return add
  return { ...add, delegated: parseDelegated(delegated, { ...common.conf, delegate }) }
}

/** The cniVersion of a request that may not even be JSON, for the answer to it. */
export function versionOf(stdin: string): string {
  try {
    const version = field(JSON.parse(stdin), 'cniVersion')
    return typeof version === 'string' && version !== '' ? version : '0.1.0'
  } catch {
    return '0.1.0'
  }
}

function parseVerb(command: string | undefined): CniVerb {
  if (command !== undefined && Object.hasOwn(VERBS, command)) return command as CniVerb
  throw environment(
    `unknown CNI_COMMAND: ${command ?? ''}`,
    `the runtime must set one of ${Object.keys(VERBS).join(', ')}`,
  )
}

function parseStdin(stdin: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(stdin)
  } catch (error) {
    const why = stdin.trim() === '' ? 'standard input is empty' : `standard input ${jsonFault(error as Error)}`
    const remedy = 'standard input must be the network configuration as JSON'
    // without its cause, which quotes the configuration: there may be credentials in it
    throw new CniError(CNI_CODE.decode, `error parsing config: ${why}`, remedy)
  }
  if (isObject(value)) return value
  throw new CniError(
    CNI_CODE.decode,
    'the configuration is not an object',
    'standard input must be the network configuration as JSON',
  )
}

function parseConf(
  verb: CniVerb,
  json: Record<string, unknown>,
  args: Readonly<Record<string, string>>,
  whose: Whose,
): NetConf {
  const name = field(json, 'name')
  if (typeof name !== 'string' || !NAME.test(name))
    throw new CniError(
      CNI_CODE.config,
      name === undefined || name === '' ? 'missing network name' : `invalid network name ${JSON.stringify(name)}`,
      '"name" must begin with a letter or digit and hold letters, digits, "_", "." and "-", at most 253',
    )
  const given = typed(json, 'cniVersion', 'text')
  const cniVersion = given === undefined || given === '' ? '0.1.0' : given
  if (!CNI_VERSIONS.includes(cniVersion))
    throw new CniError(
      CNI_CODE.version,
      'incompatible CNI versions',
      `config is "${cniVersion}", plugin supports ${JSON.stringify(CNI_VERSIONS)}`,
    )
  if (!atLeast(cniVersion, VERBS[verb].since))
    throw new CniError(
      CNI_CODE.version,
      `config version does not allow ${verb}`,
      `the configuration has cniVersion "${cniVersion}": ${verb} exists since ${VERBS[verb].since}`,
    )
  const isOurs = whose === 'our'
  const usesPodCidr = isOurs ? podCidrsIn(field(json, 'ipam')) : []
  const common = {
    ...{ cniVersion, name, families: [], ifServed: [], delegate: isOurs ? delegateIfAny(json) : undefined },
    ...(usesPodCidr.length > 0 && { usesPodCidr }),
  }
  // DEL, GC and STATUS ignore the other fields, so a bad one cannot block clean-up
  if (verb !== 'ADD' && verb !== 'CHECK') return common
  const before = field(json, 'prevResult')
  const prevResult = before === undefined || before === null ? undefined : parseResult(before, cniVersion)
  // what ADD took or refused is decided: a later version that refuses more finds no fault with pods that run
  if (verb === 'CHECK') return { ...common, prevResult }
  const ipam = typed(json, 'ipam', 'object') ?? {}
  if (!isOurs) {
    const own = { ...familiesOf(ipam), pools: poolsOf(ipam), addresses: addressesAsked(json, args) }
    const behind = behindOf(json, ipam, own)
    refuseRanges(ipam, ['subnet'])
    return { ...common, ...own, dns: dnsOf(json, undefined), behind }
  }
  const asked = askedFor(json, args, delegateOf(ipam))
  if (common.delegate === undefined) refuseRanges(ipam)
  return {
    ...common,
    ...(common.delegate === undefined && { ...familiesOf(ipam), pools: poolsOf(ipam) }),
    ...asked,
    mtu: mtuOf(json),
    dns: dnsOf(json, prevResult?.whole['dns']),
    prevResult,
  }
}

/** Our addresses come from the IPPools: a range of its own would be ignored. `looked`: keys that were judged before. */
function refuseRanges(ipam: Record<string, unknown>, looked: readonly KeyName[] = []): void {
  for (const [key, instead] of refusedOfIpam())
    if (!looked.includes(key) && field(ipam, key) !== undefined)
      throw badField(`ipam.${key}`, field(ipam, key), instead)
}

/**
 * `ipam.assign_ipv4` (default true) and `ipam.assign_ipv6` (default false): booleans, or Calico's "true"/"false". Ours is
 * "auto": an address where a pool serves the pod, of one family at the least.
 */
function familiesOf(ipam: Record<string, unknown>): Pick<NetConf, 'families' | 'ifServed'> {
  const flags = (['ipv4', 'ipv6'] as const).map(family => {
    const name = `assign_${family}` as const
    const value = field(ipam, name) ?? family === 'ipv4'
    const flag = typeof value === 'boolean' ? `${value}` : value
    if (flag === 'true' || flag === 'false' || flag === 'auto') return { family, flag }
    throw badField(`ipam.${name}`, value, 'true, false or "auto"')
  })
  const of = (wanted: string): Family[] => flags.filter(({ flag }) => flag === wanted).map(({ family }) => family)
  const [families, ifServed] = [of('true'), of('auto')]
  if (families.length + ifServed.length > 0) return { families, ifServed }
  throw badField('ipam.assign_ipv4', false, 'true or "auto", or assign_ipv6 must be')
}

/** The pools that are asked for; an empty list asks for none. */
function poolsOf(ipam: Record<string, unknown>): NetConf['pools'] {
  const of = (key: KeyName): string[] | undefined => {
    const value = field(ipam, key) ?? []
    if (!Array.isArray(value)) throw badField(`ipam.${key}`, value, 'a list of pool names or CIDRs')
    const names = value.map((item: unknown) => {
      if (typeof item === 'string' && item !== '') return item
      throw badField(`ipam.${key}`, item, 'a pool name or CIDR')
    })
    return names.length > 0 ? names : undefined
  }
  return { ipv4: of('ipv4_pools'), ipv6: of('ipv6_pools') }
}

function mtuOf(json: Record<string, unknown>): number | undefined {
  const mtu = field(json, 'mtu')
  if (mtu === undefined || mtu === null || mtu === 0) return undefined
  if (typeof mtu === 'number' && Number.isInteger(mtu) && mtu >= 68 && mtu <= 65535) return mtu
  throw badField('mtu', mtu, '0 for automatic, or 68 to 65535 bytes')
}

/** `cni.dev/valid-attachments`. Without the key GC deletes nothing; null is an empty list, as Go writes one that nobody made. */
function parseValid(json: Record<string, unknown>): Attachment[] {
  const key = 'cni.dev/valid-attachments'
  const value = field(json, key)
  if (value === null) return []
  if (value === undefined)
    throw new CniError(
      CNI_CODE.config,
      `GC without ${key}`,
      'the runtime must list the attachments that are still valid',
    )
  if (!Array.isArray(value)) throw badField(key, value, 'a list')
  return value.map((item: unknown) => {
    const containerID = isObject(item) ? field(item, 'containerID') : undefined
    const ifname = isObject(item) ? field(item, 'ifname') : undefined
    if (typeof containerID !== 'string' || typeof ifname !== 'string')
      throw badField(key, item, 'objects with containerID and ifname')
    return { containerID, ifname }
  })
}

/** `A=1;B=2`. Unknown keys are ignored, with IgnoreUnknown or without. */
function parseArgs(text: string, verb: CniVerb): Record<string, string> {
  const pairs = text.split(';').filter(pair => pair !== '' && (verb !== 'DEL' || pair.includes('=')))
  return Object.fromEntries(
    pairs.map(pair => {
      const at = pair.indexOf('=')
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)]
      throw environment(`CNI_ARGS: invalid pair ${JSON.stringify(pair)}`, 'the runtime must write KEY=VALUE;KEY=VALUE')
    }),
  )
}

/** Names that are longer than any of Kubernetes are none: the pod is known by its container alone. */
function podOf(args: Readonly<Record<string, string>>): PodName | undefined {
  const { K8S_POD_NAMESPACE: namespace, K8S_POD_NAME: name, K8S_POD_UID: uid } = args
  if ([namespace, name, uid].some(each => each !== undefined && each.length > 253)) return undefined
  return namespace && name ? { namespace, name, uid: uid === '' ? undefined : uid } : undefined
}

/**
 * SPEC 1.1.0: the form of container ids and network names, which it does not limit. The block that a pod has its address
 * from holds both, and no server takes an object of any size.
 */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/

function checkContainerId(id: string): void {
  if (!NAME.test(id))
    throw environment(
      `invalid CNI_CONTAINERID ${JSON.stringify(id)}`,
      'it must begin with a letter or digit and hold letters, digits, "_", "." and "-", at most 253',
    )
}

/** The agent has another working directory than the runtime: a path from there would be another one here. */
function checkNetns(path: string): void {
  if (!path.startsWith('/') || path.includes('\0'))
    throw environment(`invalid CNI_NETNS ${JSON.stringify(path)}`, 'it must be an absolute path')
}

/** The kernel's own rule (dev_valid_name): 1 to 15 bytes, not `.` or `..`, no `/`, `:` or white space. */
function checkIfname(name: string): void {
  const bad = name === '.' || name === '..' || Buffer.byteLength(name) > 15 || /[/:\s]/.test(name)
  if (bad)
    throw environment(
      `invalid CNI_IFNAME ${JSON.stringify(name)}`,
      'an interface name has 1 to 15 bytes, is not "." or "..", and holds no "/", ":" or white space',
    )
}

function environment(message: string, details: string): CniError {
  return new CniError(CNI_CODE.environment, message, details)
}

/** Whether every address that is asked for is of a family that may be assigned. */
export function addressesFit({ addresses = [], families, ifServed }: NetConf): boolean {
  return addresses.every(address => [...families, ...ifServed].includes(familyOf(address)))
}
