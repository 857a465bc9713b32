// Installs the plugin where runtimes look for it: one plain script that names its interpreter by absolute path, and a
// network configuration. A file is written under another name and renamed, so that a runtime never executes half of it; a
// file that would not change is not written.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { isBuilt, programFile } from '../lib/package-files.ts'

export type InstallOptions = {
  /** Usually /opt/cni/bin. */
  binDir: string
  /** Usually /etc/cni/net.d; absent: no configuration is written. */
  confDir?: string
  /** Absolute path of the Node binary that will run the plugin. */
  node: string
  /** The agent's unix socket. */
  socket: string
  /** The network's name in the configuration. */
  network?: string
}

/** The longest first line that Linux reads completely (BINPRM_BUF_SIZE, 256 since 5.1, 128 before; less newline). */
const SHEBANG_LIMIT = 127

/** Writes `margay` and `10-margay.conflist`; returns their paths. Throws what the file system throws. */
export function installPlugin(options: InstallOptions): { plugin: string; conf?: string } {
  const { binDir, confDir, node, socket, network = 'margay' } = options
  const plugin = join(binDir, 'margay')
  mkdirSync(binDir, { recursive: true })
  replaceFile(plugin, pluginSource(node), 0o755)
  if (confDir === undefined) return { plugin }
  const conf = join(confDir, '10-margay.conflist')
  mkdirSync(confDir, { recursive: true })
  replaceFile(conf, `${JSON.stringify(conflist(network, socket), undefined, 2)}\n`, 0o644)
  return { plugin, conf }
}

/** The plugin as one CommonJS script: without an import Node does not parse it twice. */
function pluginSource(node: string): string {
  const shebang = `#!${node}`
  if (!node.startsWith('/') || /\s/.test(node) || shebang.length > SHEBANG_LIMIT)
    throw new Error(`${node} cannot stand in a first line: use an absolute path without spaces, below 126 bytes`)
  return `${shebang}\n'use strict'\n${pluginScript()}`
}

/** `plugin.ts` without its types; in the built package `plugin.js`, without what makes it a module. */
function pluginScript(): string {
  const text = readFileSync(programFile('cni/plugin'), 'utf8')
  return isBuilt
    ? text.replace(/^(export \{\};|\/\/# sourceMappingURL=.*)$/gm, '')
    : quietly(() => stripTypeScriptTypes(text))
}

/** Without the warning that the function is experimental, which is of no use in the agent's log. */
function quietly<T>(body: () => T): T {
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    return body()
  } finally {
    process.emitWarning = emitWarning
  }
}

/** Present runtimes fail when 1.1.0 is the only version: `cniVersions` lists the others. */
function conflist(network: string, socket: string): Record<string, unknown> {
  return {
    cniVersion: '1.0.0',
    cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
    name: network,
    plugins: [{ type: 'margay', agentSocket: socket }],
  }
}

function replaceFile(path: string, text: string, mode: number): void {
  if (existsSync(path) && readFileSync(path, 'utf8') === text && (statSync(path).mode & 0o777) === mode) return
  const beside = `${path}.${process.pid}.new`
  try {
    writeFileSync(beside, text, { mode })
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
}
