// Acts as the container runtime: executes the CNI plugin as one does, with the environment, the configuration on
// standard input and the result on standard output (CNI SPEC 1.1.0 section 2), in the node's namespace.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { netnsPath } from '../kernel/netns.ts'
import { type NodePlan, POD_NAMESPACE, type PodPlan } from './plan.ts'
import { runProgram } from './program.ts'

/** Where one node keeps its plugin and its network configuration; what /opt/cni/bin and /etc/cni/net.d are on a host. */
export type CniDirs = { binDir: string; confDir: string }

/** Has `install`, the words of that command, put plugin and configuration there. Throws PluginRefused with what it said. */
export async function installPlugin(
  install: readonly string[],
  { binDir, confDir }: CniDirs,
  socket: string,
  limitMs: number,
): Promise<void> {
  const argv = [...install, '--bin-dir', binDir, '--conf-dir', confDir, '--socket', socket]
  const run = await runProgram(argv, { limitMs })
  if (run.code !== 0) throw new PluginRefused(`the CNI plugin could not be installed: ${run.stderr.trim()}`)
}

export type CniVerb = 'ADD' | 'DEL' | 'CHECK'

/** The plugin answered with an error; the message holds its code, msg and details. */
export class PluginRefused extends Error {
  override readonly name = 'PluginRefused'
  readonly code?: number

  constructor(message: string, code?: number) {
    super(message)
    this.code = code
  }
}

/** The plugin's code that asks a runtime to call again. */
const TRY_LATER = 11

type PluginOutput = { ips?: { address: string }[]; code?: number; msg?: string; details?: string }

/** Adds the pod's `eth0`, with up to `calls` of the plugin. Resolves with its addresses without their lengths. */
export async function addPod(
  node: NodePlan,
  pod: PodPlan,
  dirs: CniDirs,
  { limitMs, calls }: { limitMs: number; calls: number },
): Promise<readonly [string, ...string[]]> {
  let answer: PluginOutput | undefined
  for (let call = 1; answer === undefined; call++)
    answer = await runPlugin('ADD', node, pod, dirs, limitMs).catch((error: unknown) => {
      if (call < calls && error instanceof PluginRefused && error.code === TRY_LATER) return undefined
      throw error
    })
  const [first, ...others] = addressesOf(answer)
  if (first === undefined) throw new PluginRefused(`ADD ${pod.name}: the result holds no address`)
  return [first, ...others]
}

/** The addresses of a result, without their lengths. */
export function addressesOf({ ips = [] }: { ips?: readonly { address: string }[] }): string[] {
  return ips.map(({ address }) => address.replace(/\/\d+$/, ''))
}

/** Removes the pod's `eth0`. */
export async function deletePod(node: NodePlan, pod: PodPlan, dirs: CniDirs, limitMs: number): Promise<void> {
  await runPlugin('DEL', node, pod, dirs, limitMs)
}

/** One call of the plugin: what is executed in the node's namespace, and with what. */
export type PluginCall = { argv: [string]; env: Record<string, string>; stdin: string }

export function pluginCall(
  verb: CniVerb,
  pod: Pick<PodPlan, 'name' | 'netns' | 'containerId'>,
  { binDir, confDir }: CniDirs,
): PluginCall {
  const conf = readConf(confDir)
  const env = {
    PATH: process.env['PATH'] ?? '',
    CNI_COMMAND: verb,
    CNI_CONTAINERID: pod.containerId,
    CNI_NETNS: netnsPath(pod.netns),
    CNI_IFNAME: 'eth0',
    CNI_PATH: binDir,
    CNI_ARGS: [
      'IgnoreUnknown=1',
      `K8S_POD_NAMESPACE=${POD_NAMESPACE}`,
      `K8S_POD_NAME=${pod.name}`,
      `K8S_POD_INFRA_CONTAINER_ID=${pod.containerId}`,
    ].join(';'),
  }
  return { argv: [join(binDir, conf.type)], env, stdin: JSON.stringify(conf) }
}

async function runPlugin(
  verb: CniVerb,
  node: NodePlan,
  pod: PodPlan,
  dirs: CniDirs,
  limitMs: number,
): Promise<PluginOutput> {
  const { argv, env, stdin } = pluginCall(verb, pod, dirs)
  const run = await runProgram(argv, { netns: node.netns, env, stdin, limitMs })
  const answer = parseAnswer(run.stdout)
  if (run.code === 0) return answer ?? {}
  const said = answer?.msg === undefined ? run.stderr.trim() || run.stdout.trim() : ''
  const words = said || `code ${answer?.code}: ${answer?.msg} (${answer?.details ?? 'no details'})`
  throw new PluginRefused(`${verb} ${pod.name}: the plugin ended with ${run.code}: ${words}`, answer?.code)
}

function parseAnswer(stdout: string): PluginOutput | undefined {
  if (stdout.trim() === '') return undefined
  try {
    return JSON.parse(stdout) as PluginOutput
  } catch {
    return undefined
  }
}

type PluginConf = Record<string, unknown> & { type: string }

/** The first configuration by name, its first plugin, with the list's name and version put in as runtimes do. */
function readConf(confDir: string): PluginConf {
  const file = readdirSync(confDir)
    .filter(name => /\.(conflist|conf|json)$/.test(name))
    .sort()[0]
  if (file === undefined) throw new Error(`no network configuration in ${confDir}`)
  const list = JSON.parse(readFileSync(join(confDir, file), 'utf8')) as {
    name: string
    cniVersion: string
    plugins: PluginConf[]
  }
  return { ...list.plugins[0]!, name: list.name, cniVersion: list.cniVersion }
}
