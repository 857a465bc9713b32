// A pod with two interfaces of Margay, the second of which Debian's plugin vrf puts into a VRF of the pod: the plugins are executed
// as a runtime does it that has a chain of both. A VRF has a routing table of its own, and packets of programs that are bound to it.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { echo } from '../../kernel/echo.ts'
import { addNetns, netnsPath, removeNetns } from '../../kernel/netns.ts'
import type { Lab } from '../../lab/lab.ts'
import { runProgram, until } from '../../lab/program.ts'
import { ANSWER_MS } from '../slowness.ts'
import { PLUGINS } from './plugins.ts'

export type InVrf = {
  /** How long after the ADD of the chain the VRF had a default route. */
  routesMs: number
  /** The routes of the VRF, and those of the pod's other interface. */
  routes: string[]
  others: string[]
  /** Pairs that were tried, and those that did not answer. */
  tried: number
  lost: string[]
  /** What each CHECK said: nothing where it found nothing. */
  checks: string[]
  /** After each DEL came twice: links of the pod's namespace, and routes of its node to its addresses. */
  left: string[]
}

const VRF = 'blue'
const VERSION = '1.0.0'
type Result = { ips: { address: string }[] }
type Call = { type: string; name: string; ifname: string; prevResult?: unknown; vrfname?: string }

/** Undefined where the kernel has no VRFs, or the plugin is not installed. It leaves nothing. */
export async function inVrf(lab: Lab, { patience }: { patience: number }): Promise<InVrf | undefined> {
  const { name, netns: nodeNetns } = lab.node('n1')
  const there = await runProgram(['ip', 'link', 'add', 'probe', 'type', 'vrf', 'table', '99'], { netns: nodeNetns })
  if (there.code !== 0 || !existsSync(join(PLUGINS, 'vrf'))) return undefined
  await runProgram(['ip', 'link', 'delete', 'probe'], { netns: nodeNetns })
  const netns = `${nodeNetns}-vrf`
  const said = async (inside: string, ...argv: string[]) => {
    const { stdout, stderr } = await runProgram(argv, { netns: inside })
    return (stdout + stderr)
      .trim()
      .split('\n')
      .map(line => line.trim().replace(/ +/g, ' '))
  }
  const run = async (verb: string, { type, ifname, ...conf }: Call) => {
    const env = {
      ...{ CNI_COMMAND: verb, CNI_CONTAINERID: 'in-vrf', CNI_NETNS: netnsPath(netns), CNI_IFNAME: ifname },
      CNI_PATH: `${lab.cniDirs(name).binDir}:${PLUGINS}`,
    }
    const stdin = JSON.stringify({ cniVersion: VERSION, type, agentSocket: lab.agentSocket(name), ...conf })
    const path = join(type === 'margay' ? lab.cniDirs(name).binDir : PLUGINS, type)
    const { code, stdout } = await runProgram([path], { netns: nodeNetns, env, stdin })
    if (code !== 0 && verb !== 'CHECK')
      throw new Error(`${verb} of ${type} for ${ifname} ended with ${code}: ${stdout}`)
    return stdout
  }
  addNetns(netns)
  try {
    await runProgram(['ip', 'link', 'set', 'lo', 'up'], { netns })
    const first: Call = { type: 'margay', name: 'first', ifname: 'eth0' }
    const second: Call = { type: 'margay', name: 'second', ifname: 'net1' }
    const vrf: Call = { type: 'vrf', name: 'second', ifname: 'net1', vrfname: VRF }
    const results: Result[] = [JSON.parse(await run('ADD', first))]
    const prevResult = JSON.parse(await run('ADD', second))
    results.push(JSON.parse(await run('ADD', { ...vrf, prevResult })))
    const startMs = performance.now()
    const ofVrf = () => said(netns, 'ip', '-4', 'route', 'show', 'vrf', VRF)
    const hasDefault = async () => (await ofVrf()).some(line => line.startsWith('default'))
    const isThere = await until(hasDefault, 10_000 * patience, 20)
    const routesMs = isThere ? Math.round(performance.now() - startMs) : Number.MAX_SAFE_INTEGER

    const [eth0, net1] = results.map(({ ips }) => ips[0]!.address.replace(/\/.*/, '')) as [string, string]
    const lost: string[] = []
    let tried = 0
    const seen = (pair: string, problem: string | undefined) => {
      tried++
      if (problem !== undefined) lost.push(`${pair}: ${problem}`)
    }
    for (const { pod, address } of [lab.pods[0]!, lab.pods.at(-1)!]) {
      for (const from of [VRF, 'eth0']) {
        const argv = ['ping', '-n', '-c', '1', '-W', `${ANSWER_MS / 1000}`, '-I', from, address]
        const { code, stdout } = await runProgram(argv, { netns })
        seen(`${from} to ${pod.name}`, code === 0 ? undefined : stdout)
      }
      for (const to of [net1, eth0]) {
        const answer = await echo(netnsPath(pod.netns), to, ANSWER_MS)
        seen(`${pod.name} to ${to === net1 ? VRF : 'eth0'}`, 'error' in answer ? answer.error : undefined)
      }
    }
    const [routes, others] = [await ofVrf(), await said(netns, 'ip', '-4', 'route')]
    const checks = [
      await run('CHECK', { ...first, prevResult: results[0] }),
      await run('CHECK', { ...second, prevResult: results[1] }),
      await run('CHECK', { ...vrf, prevResult: results[1] }),
    ]
    for (const call of [vrf, vrf, second, second, first, first])
      await run('DEL', { ...call, prevResult: results[call === first ? 0 : 1] })
    const ofNode = await said(nodeNetns, 'ip', '-4', 'route')
    const left = [
      ...(await said(netns, 'ip', '-br', 'link')).filter(line => /^(eth0|net1|blue)\b/.test(line)),
      ...ofNode.filter(line => line.startsWith(`${eth0} `) || line.startsWith(`${net1} `)),
    ]
    return { routesMs, routes, others, tried, lost, checks, left }
  } finally {
    removeNetns(netns)
  }
}
