// The same as crash.test.ts on this machine's kernel, by a real kill -9: at some of the changes that verbs make, and with
// MARGAY_EVERY=1, as `npm run test:crash` has it, at each of them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { netnsPath, removeNetns } from '../../kernel/netns.ts'
import { call, type Host } from './host.ts'
import { newNetns, sweep } from './node.ts'
import { aRealHost } from './real-world.ts'
import { faultsOf, linksOf, mismatchesOf, settled } from './sound.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip
const EVERY = Number(process.env['MARGAY_EVERY'] ?? 17)
const CHILD = fileURLToPath(new URL('./crash-child.ts', import.meta.url))
const FAMILIES = { ipam: { assign_ipv4: true, assign_ipv6: true } }

type Verb = readonly [name: string, asked: Parameters<typeof call>[2] & object]

/** A node with a pod that nobody touches, and a namespace for another one. */
async function aNode(t: ExecutionContext) {
  sweep()
  const names = [newNetns(), newNetns(), newNetns()]
  const [netns, ofOther, ofPod] = names.map(netnsPath) as [string, string, string]
  const folder = mkdtempSync(join(tmpdir(), 'margay-crash-'))
  t.teardown(() => {
    for (const name of names) removeNetns(name)
    rmSync(folder, { recursive: true, force: true })
  })
  const path = join(folder, 'node.db')
  const other = { id: 'other', netns: ofOther, conf: FAMILIES }
  const first = { id: 'c1', netns: ofPod, conf: FAMILIES }
  const beside = { ...first, ifname: 'net1', conf: { ...FAMILIES, name: 'second' } }
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'other', ifname: 'eth0' }] }
  const verbs = { first: ['ADD', first], beside: ['ADD', beside], del: ['DEL', first] } as const
  const gc = ['GC', { conf: { ...FAMILIES, ...valid } }] as const
  const within = async <T>(body: (host: Host) => Promise<T>): Promise<T> => {
    const { host } = await aRealHost(netns, path)
    try {
      return await body(host)
    } finally {
      await host.close()
    }
  }
  const look = async (host: Host, where: string) => {
    t.deepEqual(await faultsOf(host), [], where)
    t.deepEqual(await mismatchesOf(host, 'net', { containerID: 'other', ifname: 'eth0' }), [], where)
  }
  await within(async host => {
    const kernel = host.world.kernel()
    await kernel.setLink('lo', { up: true })
    kernel.writeSysctl('ipv4', ['ip_forward'], '1')
    kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
    t.is((await call(host, 'ADD', other)).exitCode, 0)
  })
  const kill = async (changes: number, [verb, asked]: Verb) => {
    const args = [CHILD, netns, path, `${changes}`, verb, JSON.stringify(asked)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const [said, [, signal]] = await Promise.all([text(child.stdout), once(child, 'close')])
    return signal === 'SIGKILL' ? undefined : (JSON.parse(said) as { exitCode: number; changes: number })
  }
  return { within, look, kill, ...verbs, gc, all: [first, beside], path, netns: ofPod }
}

type Node = Awaited<ReturnType<typeof aNode>>
const lives: readonly { title: string; before: (node: Node) => readonly Verb[]; verb: (node: Node) => Verb }[] = [
  { title: 'ADD', before: () => [], verb: ({ first }) => first },
  { title: 'ADD of a second interface', before: ({ first }) => [first], verb: ({ beside }) => beside },
  { title: 'DEL', before: ({ first, beside }) => [first, beside], verb: ({ del }) => del },
  { title: 'GC', before: ({ first, beside }) => [first, beside], verb: ({ gc }) => gc },
]

for (const { title, before, verb } of lives)
  asRoot(
    `killed by the kernel while it answers ${title}, a node comes back with addresses and interfaces alike, and the runtime gets on`,
    async t => {
      const node = await aNode(t)
      let killed = 0
      for (let changes = 0; ; changes += EVERY) {
        await node.within(async host => {
          for (const [name, asked] of before(node)) t.is((await call(host, name, asked)).exitCode, 0)
        })
        const ended = await node.kill(changes, verb(node))
        const where = `killed at ${changes}`
        await node.within(async host => {
          await node.look(host, where)
          const [name, asked] = verb(node)
          host.clock.advance(120_000)
          const { exitCode, stdout } = await call(host, name, asked)
          t.is(exitCode, 0, `${where}: ${stdout}`)
          if (name === 'ADD') {
            const conf = { ...asked.conf, prevResult: JSON.parse(stdout) }
            t.is((await call(host, 'CHECK', { ...asked, conf })).stdout, '', where)
          }
          for (const each of node.all) t.is((await call(host, 'DEL', each)).exitCode, 0, where)
          await settled(host)
          await node.look(host, where)
          t.is((await linksOf(host)).length, 1, where)
          t.is(host.deps.ipam.held().size, 1, where)
        })
        if (ended === undefined) {
          killed++
          continue
        }
        t.is(ended.exitCode, 0)
        t.log(`${ended.changes} changes, killed at ${killed}`)
        break
      }
      t.true(killed > 0)
    },
  )

asRoot(
  'after the loss of its journal a node takes the pods that run over, with their addresses, and gives those to no other one',
  async t => {
    const node = await aNode(t)
    const addresses = ({ deps }: Host) => deps.endpoints.all().map(row => [...row.addresses].sort().join())
    const before = await node.within(async host => {
      t.is((await call(host, ...node.first)).exitCode, 0)
      return addresses(host)
    })
    for (const end of ['', '-wal', '-shm']) rmSync(`${node.path}${end}`, { force: true })
    await node.within(async host => {
      t.deepEqual(addresses(host).toSorted(), before.toSorted())
      t.is((await call(host, ...node.beside)).exitCode, 0)
      t.is(new Set(addresses(host)).size, 3)
      for (const each of node.all) t.is((await call(host, 'DEL', each)).exitCode, 0)
      await settled(host)
      t.is((await linksOf(host)).length, 1)
    })
  },
)

asRoot(
  'after the end of a namespace without DEL, as at a reboot, a node that starts with its journal has neither row nor address of it',
  async t => {
    const node = await aNode(t)
    const link = await node.within(async host => {
      t.is((await call(host, ...node.first)).exitCode, 0)
      return host.deps.endpoints.all().find(({ containerID }) => containerID === 'c1')!.interfaceName
    })
    removeNetns(node.netns.slice(node.netns.lastIndexOf('/') + 1))
    await node.within(async host => {
      // a kernel takes the interface away a moment later, and the next start what is left
      while ((await host.deps.kernel.link(link)) !== undefined) await new Promise(resolve => setTimeout(resolve, 5))
    })
    await node.within(async host => {
      await node.look(host, 'started again')
      t.deepEqual([...host.deps.ipam.held().keys()], ['net.other.eth0'])
    })
  },
)
