// ADD of the measured agent, asked over its socket as the plugin does, without the plugin's own time.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readlinkSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemProgram } from '../../lib/system-program.ts'

const POLL_MS = 2
const CONFIGURATION = JSON.stringify({ cniVersion: '1.0.0', name: 'bench', type: 'margay' })

/** An empty network namespace for a pod. It has no name, and ends with its process. */
export class PodNamespace {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async open(): Promise<PodNamespace> {
    const child = spawn(systemProgram('unshare'), ['--net', systemProgram('sleep'), 'infinity'], { stdio: 'ignore' })
    await once(child, 'spawn')
    const own = readlinkSync('/proc/self/ns/net')
    while (readlinkSync(`/proc/${child.pid}/ns/net`) === own) await sleep(POLL_MS)
    return new PodNamespace(child)
  }

  get path(): string {
    return `/proc/${this.#child.pid}/ns/net`
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

/** Adds and deletes a pod `count` times; the median of ADD in ms. Throws when the agent refuses. */
export async function medianAdd(socketPath: string, netns: string, count: number): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const startMs = performance.now()
    await cni(socketPath, 'ADD', netns)
    times.push(performance.now() - startMs)
    await cni(socketPath, 'DEL', netns)
  }
  return times.sort((a, b) => a - b)[Math.floor(count / 2)]!
}

export function addPod(socketPath: string, netns: string): Promise<void> {
  return cni(socketPath, 'ADD', netns)
}

export function deletePod(socketPath: string, netns: string): Promise<void> {
  return cni(socketPath, 'DEL', netns)
}

async function cni(socketPath: string, command: 'ADD' | 'DEL', netns: string): Promise<void> {
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: 'pod', CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  const body = JSON.stringify({ env, stdin: CONFIGURATION })
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const asked = request({ socketPath, method: 'POST', path: '/cni', headers })
  asked.end(body)
  const [response] = await once(asked, 'response')
  let text = ''
  for await (const chunk of response) text += chunk
  if (response.statusCode !== 200 || JSON.parse(text).exitCode !== 0) throw new Error(`${command}: ${text}`)
}
