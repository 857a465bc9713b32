// A runtime for tests of the plugin in its chains: libcni's own program `cnitool`, which is beside Kubernetes' programs (K8S_BIN),
// calls our plugin and Debian's in the namespace of a node.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { installPlugin } from '../../cni/install.ts'
import { binary } from '../../lab/kubernetes/binaries.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { type TestNode, withNode } from './node.ts'

/** Beside the programs of a Kubernetes, and not one of them. */
const CNITOOL = join(dirname(binary('kubectl')), 'cnitool')
/** Debian's package containernetworking-plugins. */
const PLUGINS = '/usr/lib/cni'
const isRoot = process.getuid?.() === 0
const missing = [CNITOOL, PLUGINS].find(path => !existsSync(path))
/** A test that needs root, cnitool and Debian's plugins. */
export const withPlugins = isRoot && missing === undefined ? test.serial : test.serial.skip
if (missing !== undefined)
  test('libcni is called where its program and other plugins are', t => {
    t.log(`skipped: there is no ${missing}`)
    t.pass()
  })

export type Ran = { code: number; stdout: string }
export type Runtime = {
  node: TestNode
  confDir: string
  /** `cnitool VERB NETWORK NETNS`, in the namespace of the node. */
  run: (verb: string, netns: string, capabilities?: object, of?: { network?: string; ifname?: string }) => Promise<Ran>
}

/** A node with a runtime whose plugins are ours and these of Debian. Results are kept in a folder of the test. */
export async function withRuntime(
  t: ExecutionContext,
  others: readonly string[],
  body: (runtime: Runtime) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-libcni-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [binDir, confDir, results] = ['bin', 'net.d', 'results'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  for (const each of [binDir, results]) mkdirSync(each)
  for (const name of others) symlinkSync(join(PLUGINS, name), join(binDir, name))
  mkdirSync('/var/lib/cni', { recursive: true })
  await withNode(async node => {
    installPlugin({ binDir, confDir, socket: node.socket })
    const inside = [
      ...[systemProgram('nsenter'), `--net=${node.netns}`, systemProgram('unshare'), '--mount'],
      ...[systemProgram('sh'), '-c', `mount --bind ${results} /var/lib/cni && exec "$@"`, 'sh', CNITOOL],
    ]
    const run: Runtime['run'] = (verb, netns, capabilities = {}, { network = 'margay', ifname = 'eth0' } = {}) =>
      new Promise(resolve => {
        const env = {
          ...{ PATH: process.env['PATH'] ?? '', CNI_PATH: binDir, NETCONFPATH: confDir },
          ...{ CAP_ARGS: JSON.stringify(capabilities), CNI_IFNAME: ifname },
        }
        const argv = [...inside.slice(1), verb, network, netns]
        execFile(inside[0]!, argv, { env }, (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : 1, stdout: stdout || stderr }),
        )
      })
    await body({ node, confDir, run })
  })
}

/** What `cnitool` printed of a request that must succeed. */
export async function done(t: ExecutionContext, ran: Promise<Ran>): Promise<string> {
  const { code, stdout } = await ran
  t.is(code, 0, stdout)
  return stdout
}
