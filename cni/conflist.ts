// The network configuration that a runtime reads, and what lies beside it. Of the files of a folder in the order of their
// names containerd and CRI-O use the first one that they can read (libcni: .conf, .conflist and .json), so a file of
// another network before ours hides ours, and ours hides every one behind it.

import { ownCapabilities } from './capabilities.ts'

/** The usual name of our configuration. */
export const CONFLIST_NAME = '10-margay.conflist'

/** Plugins that do a part of the work behind ours when a pod asks for it: hostPort, and the annotations of bandwidth. */
const CHAINED = {
  portmap: { type: 'portmap', snat: true, capabilities: { portMappings: true } },
  bandwidth: { type: 'bandwidth', capabilities: { bandwidth: true } },
} as const satisfies Record<string, { type: string; [field: string]: unknown }>

export type ChainedPlugin = keyof typeof CHAINED

export const CHAINED_PLUGINS = Object.keys(CHAINED) as ChainedPlugin[]

/** Pods get an address of each family that has a pool for them: a pool is all that an operator has to make. */
const FAMILIES_OF_POOLS = { assign_ipv4: 'auto', assign_ipv6: 'auto' }

/** A file of the folder: its name and its text. */
export type ConfFile = { name: string; text: string }

/** Types that make no network of their own for pods: `lo`, and plugins that call the network behind them. */
const NO_NETWORK = ['loopback', 'multus', 'multus-shim']

/** The versions of CNI that our plugin is offered with, the oldest first. */
const VERSIONS = ['0.4.0', '1.0.0', '1.1.0']
/** What releases of the chained plugins speak that do not say it. */
const USUAL_VERSIONS = ['0.4.0', '1.0.0']

/**
 * The plugins behind ours, and the versions of CNI that all of them speak: a runtime takes the newest one that is listed and
 * asks every plugin with it. One that would leave no version is left out. `versionsOf`; none: it did not say.
 */
export function chainOf(
  wanted: readonly ChainedPlugin[],
  versionsOf: (plugin: ChainedPlugin) => readonly string[],
): { chained: ChainedPlugin[]; leftOut: ChainedPlugin[]; cniVersions: readonly string[] } {
  const chained: ChainedPlugin[] = []
  const leftOut: ChainedPlugin[] = []
  let cniVersions: readonly string[] = VERSIONS
  for (const plugin of wanted) {
    const told = versionsOf(plugin)
    const common = cniVersions.filter(version => (told.length === 0 ? USUAL_VERSIONS : told).includes(version))
    if (common.length === 0) leftOut.push(plugin)
    else {
      chained.push(plugin)
      cniVersions = common
    }
  }
  return { chained, leftOut, cniVersions }
}

/** The text of our configuration, in versions of CNI that all its plugins speak. Present runtimes fail when 1.1.0 is the only one. */
export function conflistText(options: {
  network: string
  socket: string
  chained: readonly ChainedPlugin[]
  cniVersions?: readonly string[]
}): string {
  const { network, socket, chained, cniVersions = VERSIONS } = options
  const conflist = {
    cniVersion: cniVersions.filter(version => USUAL_VERSIONS.includes(version)).at(-1) ?? '1.0.0',
    cniVersions,
    name: network,
    plugins: [
      { type: 'margay', agentSocket: socket, ipam: FAMILIES_OF_POOLS, capabilities: ownCapabilities() },
      ...chained.map(name => CHAINED[name]),
    ],
  }
  return `${JSON.stringify(conflist, undefined, 2)}\n`
}

/** Whether a runtime reads a file of this name as a network configuration. */
export function isConfName(name: string): boolean {
  return /\.(conf|conflist|json)$/.test(name)
}

/** Whether a text is a configuration of this network: its first plugin is ours. */
export function isOurConflist(text: string): boolean {
  return typesOf(text)[0] === 'margay'
}

/** Whether a text is no configuration at all, such as half a file. */
export function isNoConflist(text: string): boolean {
  return typesOf(text).length === 0
}

/** The names of the files that are configurations of other networks, sorted as a runtime sorts them. */
export function foreignNetworks(files: readonly ConfFile[]): string[] {
  return files
    .filter(({ name, text }) => isConfName(name) && isForeign(typesOf(text)))
    .map(({ name }) => name)
    .sort()
}

function isForeign(types: readonly string[]): boolean {
  return types.length > 0 && types[0] !== 'margay' && !types.every(type => NO_NETWORK.includes(type))
}

/** The types of a configuration's plugins; none for what is no configuration. */
function typesOf(text: string): string[] {
  const conf = parsed(text)
  if (!isObject(conf)) return []
  const plugins: unknown[] = Array.isArray(conf['plugins']) ? conf['plugins'] : [conf]
  return plugins.flatMap(plugin => (isObject(plugin) && typeof plugin['type'] === 'string' ? [plugin['type']] : []))
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // JSON.parse throws SyntaxError only
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
