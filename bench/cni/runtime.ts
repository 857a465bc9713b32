// Acts as a container runtime: executes a CNI plugin with the environment and the configuration on standard input, and
// measures from its start to its end. This process is in the node's namespace already.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { systemProgram } from '../../lib/system-program.ts'

/** A plugin as a runtime knows it: its path, the folder it lies in, and its configuration. */
export type Plugin = { path: string; folder: string; conf: Record<string, unknown> }

/** What a pod is to a runtime: its namespace by path, and its names. */
export type RuntimePod = { netns: string; name: string }

/** Milliseconds from starting the plugin to its end. Rejects with what it said when it fails. */
export async function timed(plugin: Plugin, verb: 'ADD' | 'DEL', { netns, name }: RuntimePod): Promise<number> {
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: `container-of-${name}`,
    CNI_NETNS: netns,
    CNI_IFNAME: 'eth0',
    CNI_PATH: plugin.folder,
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
  }
  const startMs = performance.now()
  const child = spawn(plugin.path, { env, stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', chunk => {
    said += chunk
  })
  child.stdin.on('error', () => undefined) // a plugin that ended says why by its exit code
  child.stdin.end(JSON.stringify(plugin.conf))
  const [code] = await once(child, 'close')
  const took = performance.now() - startMs
  if (code !== 0) throw new Error(`${plugin.path} ${verb} ${name}: ${said}`)
  return took
}

/** Milliseconds of one process that answers VERSION, the mean of many that a shell starts one after the other. */
export function startMs(program: string): number {
  const count = 300
  const script = `i=0; while [ $i -lt ${count} ]; do "${program}" </dev/null >/dev/null; i=$((i+1)); done`
  const before = performance.now()
  execFileSync(systemProgram('sh'), ['-c', script], { env: { CNI_COMMAND: 'VERSION' } })
  return (performance.now() - before) / count
}
