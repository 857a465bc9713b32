// Runs margay-api and an agent from the root file system of an image, in a network namespace of their own, and prints what
// they took as JSON. Started by whole-image.test.ts, as `unshare --net --mount` and the folder of the image.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { ENV } from '../../image/bundle.ts'
import { systemProgram } from '../../lib/system-program.ts'

const root = process.argv[2]!
const ADDRESS = '192.0.2.10'
/** Where both keep their files, inside of the image's file system. */
const WORK = '/tmp/work'

const system = (line: string) => execFileSync(systemProgram(line.split(' ')[0]!), line.split(' ').slice(1))
const inImage = (program: string, args: readonly string[]): ChildProcess => {
  const words = [root, '/usr/bin/node', `/opt/margay/${program}.js`, ...args]
  return spawn(systemProgram('chroot'), words, { stdio: ['ignore', 'pipe', 'inherit'], env: ENV })
}

for (const line of [
  'ip link set lo up',
  'ip link add up0 type veth peer name far0',
  'ip link set far0 up',
  `ip addr add ${ADDRESS}/24 dev up0`,
  'ip link set up0 up',
])
  system(line)
for (const name of ['proc', 'dev', 'sys', 'tmp/work']) mkdirSync(join(root, name), { recursive: true })
system(`mount -t proc proc ${join(root, 'proc')}`)
system(`mount --rbind /dev ${join(root, 'dev')}`)
system(`mount -t sysfs sysfs ${join(root, 'sys')}`)

const api = inImage('margay-api', ['--data-dir', `${WORK}/api`, '--listen', '127.0.0.1:0'])
const [line] = (await once(createInterface({ input: api.stdout! }), 'line')) as [string]
const url = /ready on (\S+),/.exec(line)![1]!
const authorization = `Bearer ${readFileSync(join(root, WORK, 'api/token'), 'utf8').trim()}`
const create = async (path: string, object: object) => {
  const headers = { authorization, 'content-type': 'application/json' }
  const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(object) })
  if (response.status !== 201) throw new Error(await response.text())
}
await create('/api/v1/nodes', {
  ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } },
  status: { addresses: [{ type: 'InternalIP', address: ADDRESS }] },
})
await create('/apis/projectcalico.org/v3/ippools', {
  ...{ apiVersion: 'projectcalico.org/v3', kind: 'IPPool', metadata: { name: 'pods' } },
  spec: { cidr: '10.244.0.0/16' },
})
writeFileSync(
  join(root, WORK, 'kubeconfig'),
  JSON.stringify({
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'c' },
    clusters: [{ name: 'c', cluster: { server: url } }],
    users: [{ name: 'c', user: { token: authorization.slice('Bearer '.length) } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
  }),
)

const places = ['--kubeconfig', `${WORK}/kubeconfig`, '--data-dir', `${WORK}/node`, '--run-dir', `${WORK}/run`]
const startMs = performance.now()
const agent = inImage('margay-node', ['--node-name', 'n1', '--node-ip', ADDRESS, ...places])
while (!(await isReady())) {
  if (agent.exitCode !== null || performance.now() - startMs > 60_000) throw new Error('the agent is not ready')
  await sleep(5)
}
const readyMs = performance.now() - startMs
const cpuMs = 10 * processorTicks()
await sleep(15_000) // the heap is made small ten seconds after the start
const memory = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${agent.pid}/status`, 'utf8'))![1]!
console.log(JSON.stringify({ readyMs, cpuMs, memoryMiB: Number(memory) / 1024 }))
for (const child of [agent, api]) {
  child.kill('SIGTERM')
  await once(child, 'exit')
}

function isReady(): Promise<boolean> {
  return new Promise(resolve => {
    const asked = request({ socketPath: join(root, WORK, 'run/agent.sock'), path: '/readyz' }, response => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    asked.once('error', () => resolve(false)) // not there yet
    asked.end()
  })
}

/** Of the agent, in user and system mode. */
function processorTicks(): number {
  const fields = readFileSync(`/proc/${agent.pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return Number(fields[11]) + Number(fields[12])
}
