// Installs the plugin where runtimes look for it: one static program under its two names, and a network configuration, which comes last since a
// runtime starts to use the plugin when it sees one. The files are written by `runtime-files.ts`, each as a whole.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { pluginProgram, thisMachine } from './compile.ts'
import {
  CHAINED_PLUGINS,
  type ChainedPlugin,
  CONFLIST_NAME,
  chainOf,
  conflistText,
  foreignNetworks,
  isOurConflist,
} from './conflist.ts'
import { IPAM_PROGRAM } from './keys.ts'
import { confFiles, contentOf, type FileLabels, removeFile, removeLeftovers, replaceFile } from './runtime-files.ts'

export type InstallOptions = {
  /** Usually /opt/cni/bin. */
  binDir: string
  /** Usually /etc/cni/net.d; absent: no configuration is written. */
  confDir?: string
  /** The agent's unix socket, as the host sees it. */
  socket: string
  /** The network's name in the configuration. */
  network?: string
  /** The configuration's file. */
  confName?: string
  /** Plugins to be chained where `binDir` has them. Absent: all of `CHAINED_PLUGINS`. */
  chain?: readonly ChainedPlugin[]
  /** Goes on where configurations of other networks are. */
  force?: boolean
  labels?: FileLabels
  /** A folder with `amd64/margay` and `arm64/margay`, as in an image. Absent: the package's own, or one that is made now. */
  pluginDir?: string
}

/**
 * What was written where; `conf` is absent when no configuration was asked for. `leftOut`: plugins that are there and speak no
 * version of CNI that the others do. `removed`: configurations of ours under other names.
 */
export type Installed = { plugin: string; conf?: string; leftOut: readonly ChainedPlugin[]; removed: readonly string[] }

/** The folder has a configuration of another network, and nothing was written. */
export class ForeignNetwork extends Error {
  override readonly name = 'ForeignNetwork'
}

/** The plugin's name in its folder, and its `type` in configurations. */
const PLUGIN_NAME = 'margay'
/** Ours, and that of the same program as the IPAM plugin of others. */
const NAMES = [PLUGIN_NAME, IPAM_PROGRAM]
/** Octets that every version of the plugin has in it, and no other program. */
const PLUGIN_MARK = 'Margay: a routed network for containers'
/**
 * Writes `margay`, `margay-ipam` and the configuration. Throws `ForeignNetwork`, what the file system throws and what `pluginProgram` throws;
 * each file is the old one or the new one then.
 */
export function installPlugin(options: InstallOptions): Installed {
  const { binDir, confDir, socket, network = 'margay', confName = CONFLIST_NAME, labels } = options
  if (confDir !== undefined) refuseForeign(confDir, confName, options.force === true)
  const program = programIn(options.pluginDir)
  const plugin = join(binDir, PLUGIN_NAME)
  mkdirSync(binDir, { recursive: true })
  for (const path of NAMES.map(name => join(binDir, name))) {
    removeLeftovers(path)
    replaceFile(path, program, { mode: 0o755, labels })
  }
  if (confDir === undefined) return { plugin, leftOut: [], removed: [] }
  const there = (options.chain ?? CHAINED_PLUGINS).filter(name => isProgram(join(binDir, name)))
  const { leftOut, ...chain } = chainOf(there, asked(binDir))
  const conf = join(confDir, confName)
  mkdirSync(confDir, { recursive: true })
  removeLeftovers(conf)
  replaceFile(conf, conflistText({ network, socket, ...chain }), { mode: 0o644, labels })
  // one under an older name would be used in place of this one, or of the next network when this one goes
  const removed = ownConfs(confDir).filter(path => path !== conf)
  for (const path of removed) removeFile(path)
  return { plugin, conf, leftOut, removed }
}

/**
 * Removes what `installPlugin` writes, the configuration first, whatever its name, and returns the paths that are gone. What lies there under the
 * same name and is another program's, or is not there, is left. Throws what the file system throws.
 */
export function uninstallPlugin(options: Pick<InstallOptions, 'binDir' | 'confDir' | 'confName'>): string[] {
  const { binDir, confDir, confName = CONFLIST_NAME } = options
  const removed: string[] = []
  const remove = (path: string, isOurs: (content: Buffer) => boolean): void => {
    removeLeftovers(path)
    const content = contentOf(path)
    if (content === undefined || !isOurs(content)) return
    removeFile(path)
    removed.push(path)
  }
  if (confDir !== undefined)
    for (const path of new Set([join(confDir, confName), ...ownConfs(confDir)]))
      remove(path, content => isOurConflist(content.toString()))
  for (const name of NAMES) remove(join(binDir, name), content => content.includes(PLUGIN_MARK))
  return removed
}

function programIn(folder: string | undefined): Buffer {
  return folder === undefined ? pluginProgram() : readFileSync(join(folder, thisMachine(), PLUGIN_NAME))
}

/** The paths of our configurations in a folder. */
function ownConfs(confDir: string): string[] {
  return confFiles(confDir)
    .filter(({ text }) => isOurConflist(text))
    .map(({ name }) => join(confDir, name))
}

function refuseForeign(confDir: string, confName: string, force: boolean): void {
  const foreign = foreignNetworks(confFiles(confDir))
  if (foreign.includes(confName))
    throw new ForeignNetwork(
      `${join(confDir, confName)} is the configuration of another network; remove it, or give another --conf-name`,
    )
  if (foreign.length === 0 || force) return
  const first = foreign.find(name => name < confName)
  const names = foreign.map(name => join(confDir, name)).join(', ')
  const effect =
    first === undefined
      ? `pods would leave that network for this one`
      : `${first} comes before ${confName}, so runtimes would not use ${confName}`
  throw new ForeignNetwork(
    `${confDir} has the configuration of another network, ${names}: ${effect}; remove it, or give --force to leave it there`,
  )
}

/** Asks plugins of the folder which versions of CNI they speak (SPEC, VERSION); none where one does not answer. */
function asked(binDir: string): (plugin: ChainedPlugin) => string[] {
  return plugin => {
    const run = spawnSync(join(binDir, plugin), [], {
      ...{ env: { CNI_COMMAND: 'VERSION' }, input: '{"cniVersion":"1.0.0"}', encoding: 'utf8', timeout: 5000 },
    })
    try {
      const { supportedVersions } = JSON.parse(run.stdout) as { supportedVersions?: unknown }
      return Array.isArray(supportedVersions) ? supportedVersions.filter(version => typeof version === 'string') : []
    } catch {
      return [] // it could not be executed here, or said nothing
    }
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false // not there, or nothing that a runtime could execute
  }
}
