// Whether what a fault breaks works: a ping, a connection to a server in a pod, or a pod that is added.
import { fileURLToPath } from 'node:url'
import { addNetns, netnsPath, removeNetns } from '../../kernel/netns.ts'
import { programFile } from '../../lib/package-files.ts'
import { type ClusterObject, podObject } from '../cluster.ts'
import type { Lab } from '../lab.ts'
import { planPod } from '../plan.ts'
import { addPod, deletePod, PluginRefused } from '../pods.ts'
import { runProgram } from '../program.ts'
import type { Traffic } from './fault.ts'

/** Answers come in less than a millisecond; a longer wait would hide when it works again. */
const PING_SECONDS = '0.4'
const CONNECT_MS = 2000
const PLUGIN_MS = 4000
/** Of the pod that is added and deleted again. */
const NEW_POD = 9

/** Makes what the traffic needs: the server in a pod, or the Pod object that an agent waits for before it adds a pod. */
export async function prepare(lab: Lab, traffic: Traffic): Promise<void> {
  if ('newPodOn' in traffic) return lab.putObjects([newPodObject(traffic)])
  if (!('port' in traffic)) return
  const argv = [process.execPath, fileURLToPath(programFile('lab/faults/server')), String(traffic.port)]
  lab.runBeside(serverOf(traffic), argv, lab.plan.prefix + traffic.to)
}

/** Takes away what `prepare` made. */
export async function tidyUp(lab: Lab, traffic: Traffic): Promise<void> {
  if ('newPodOn' in traffic) await lab.removeObjects([newPodObject(traffic)])
  if ('port' in traffic) await lab.endBeside(serverOf(traffic))
}

const newPodObject = ({ newPodOn }: { newPodOn: string }): ClusterObject =>
  podObject(planPod('', newPodOn, NEW_POD).name, newPodOn)

const serverOf = ({ to, port }: { to: string; port: number }): string => `server-${to}-${port}`

export async function passes(lab: Lab, traffic: Traffic): Promise<boolean> {
  if ('newPodOn' in traffic) return canAddPod(lab, traffic.newPodOn)
  const netns = lab.plan.prefix + traffic.from
  const { address } = lab.pods.find(({ pod }) => pod.name === traffic.to)!
  if (!('port' in traffic)) {
    const size = 'octets' in traffic ? ['-s', String(traffic.octets)] : []
    return (await runProgram(['ping', '-n', '-q', '-c1', '-W', PING_SECONDS, ...size, address], { netns })).code === 0
  }
  const script = `read -r seen </dev/tcp/${address}/${traffic.port} && echo "$seen"`
  const { code, stdout } = await runProgram(['bash', '-c', script], { netns, limitMs: CONNECT_MS })
  const own = lab.pods.find(({ pod }) => pod.name === traffic.from)!.address
  return code === 0 && (traffic.seenAs === undefined || stdout.trim() === own)
}

async function canAddPod(lab: Lab, nodeName: string): Promise<boolean> {
  const [node, pod] = [lab.node(nodeName), planPod(lab.plan.prefix, nodeName, NEW_POD)]
  const dirs = lab.cniDirs(nodeName)
  const refused = (error: unknown) => {
    if (!(error instanceof PluginRefused)) throw error
    return false
  }
  removeNetns(pod.netns)
  addNetns(pod.netns)
  try {
    using kernel = lab.host.inside(netnsPath(pod.netns))
    await kernel.setLink('lo', { up: true })
    return await addPod(node, pod, dirs, { limitMs: PLUGIN_MS, calls: 1 }).then(() => true, refused)
  } finally {
    await deletePod(node, pod, dirs, PLUGIN_MS).catch(refused)
    removeNetns(pod.netns)
  }
}
