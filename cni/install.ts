// Installs the plugin where runtimes look for it: one static program, and a network configuration. A file is written under
// another name and renamed, so that a runtime never executes half of it; a file that would not change is not written.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pluginProgram } from './compile.ts'

export type InstallOptions = {
  /** Usually /opt/cni/bin. */
  binDir: string
  /** Usually /etc/cni/net.d; absent: no configuration is written. */
  confDir?: string
  /** The agent's unix socket. */
  socket: string
  /** The network's name in the configuration. */
  network?: string
}

/** Writes `margay` and `10-margay.conflist`; returns their paths. Throws what the file system and `pluginProgram` throw. */
export function installPlugin(options: InstallOptions): { plugin: string; conf?: string } {
  const { binDir, confDir, socket, network = 'margay' } = options
  const plugin = join(binDir, 'margay')
  mkdirSync(binDir, { recursive: true })
  replaceFile(plugin, pluginProgram(), 0o755)
  if (confDir === undefined) return { plugin }
  const conf = join(confDir, '10-margay.conflist')
  mkdirSync(confDir, { recursive: true })
  replaceFile(conf, `${JSON.stringify(conflist(network, socket), undefined, 2)}\n`, 0o644)
  return { plugin, conf }
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

function replaceFile(path: string, content: string | Buffer, mode: number): void {
  const same = existsSync(path) && readFileSync(path).equals(Buffer.from(content))
  if (same && (statSync(path).mode & 0o777) === mode) return
  const beside = `${path}.${process.pid}.new`
  try {
    writeFileSync(beside, content, { mode })
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
}
