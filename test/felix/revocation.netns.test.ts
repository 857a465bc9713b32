// Established connections of real pods through the rules of policies that change.
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import test from 'ava'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { LABEL, type Policy, type PolicyEndpoint, type PolicyRule } from '../../felix/policy/model.ts'
import { Revocation } from '../../felix/revocation.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { type Pod, PodNode } from './pod-node.ts'

const netns = isRoot ? test.serial : test.skip
if (!isRoot)
  test('connections are cut for root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** A Service at 10.96.0.1 with the first pod behind it. */
const SERVICE = `table ip service {
  chain prerouting { type nat hook prerouting priority -100; ip daddr 10.96.0.1 dnat to 10.244.0.1; }
}`
const ALLOW: PolicyRule = { action: 'allow', source: {}, destination: {} }
const policy = (name: string, selector: string, more: Partial<Policy>): Policy => ({
  ...{ ref: { kind: 'NetworkPolicy', namespace: 'default', name }, tier: 'default', order: 1000 },
  ...{ sortName: `${name}/default/NetworkPolicy`, selector, hostStage: 'normal' },
  ...more,
})
const from = (selector: string): PolicyRule => ({ action: 'allow', source: { selector }, destination: {} })

/** Answers every datagram, and every line of a connection; `push PORT ADDRESS` sends a datagram by itself. */
const SERVER = `
  const dgram = require('dgram').createSocket('udp4')
  dgram.on('message', (text, { port, address }) => dgram.send(text, port, address)).bind(7)
  const peers = new Set()
  require('net').createServer(s => {
    peers.add(s.on('data', text => s.write(text)).on('error', () => {}))
  }).listen(7, () => console.log('on'))
  process.stdin.on('data', () => { for (const s of peers) s.write('pushed\\n') })
`
/** Says each line of its input to the server over both, and prints what comes back. */
const CLIENT = (address: string) => `
  const dgram = require('dgram').createSocket('udp4').on('message', text => console.log('udp ' + text))
  const tcp = require('net').connect({ host: '${address}', port: 7 }, () => console.log('on'))
  let left = ''
  tcp.on('error', e => console.log(e.code)).on('data', text => {
    for (const line of (left += text).split('\\n').slice(0, -1)) console.log('tcp ' + line)
    left = left.slice(left.lastIndexOf('\\n') + 1)
  })
  require('readline').createInterface({ input: process.stdin }).on('line', line => {
    tcp.write(line + '\\n')
    dgram.send(line, 7, '${address}')
  })
`

class Talk {
  readonly #child: ChildProcess
  readonly #heard = new Set<string>()
  readonly #waiting = new Map<string, () => void>()
  #said = 0

  constructor(child: ChildProcess) {
    this.#child = child
    createInterface({ input: child.stdout! }).on('line', line => {
      this.#heard.add(line)
      this.#waiting.get(line)?.()
    })
  }

  async hears(line: string, withinMs = 3000): Promise<boolean> {
    if (this.#heard.has(line)) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#waiting.set(line, () => resolve(true))
    const timer = setTimeout(() => resolve(false), withinMs)
    const heard = await promise
    clearTimeout(timer)
    return heard
  }

  say(text: string): void {
    this.#child.stdin!.write(`${text}\n`)
  }

  /** Which of both is answered: what is cut is silent, so it takes a moment to know. */
  async works(): Promise<{ tcp: boolean; udp: boolean }> {
    const text = `line ${this.#said++}`
    this.say(text)
    const [tcp, udp] = await Promise.all([this.hears(`tcp ${text}`, 700), this.hears(`udp ${text}`, 700)])
    return { tcp, udp }
  }

  end(): void {
    this.#child.kill('SIGKILL')
  }
}

class World implements AsyncDisposable {
  readonly node = new PodNode()
  readonly enforcer = new PolicyEnforcer(this.node.kernel, { table: 'margay-policy', interfacePrefix: 'cali' })
  readonly revocation = new Revocation({
    ...{ kernel: this.node.kernel, policy: this.enforcer, clock: systemClock, log: this.#log() },
    shut: async (names, isShut) => {
      for (const name of names) this.enforcer.setCut(name, isShut === 'shut')
      await this.enforcer.put()
    },
    report: condition => {
      if (condition !== undefined) throw new Error(condition.message)
    },
  })
  readonly #talks: Talk[] = []
  #wasCut = () => {}

  /** Resolves when connections were cut by what `change` told. */
  async cuts(change: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wasCut = resolve
    change()
    await this.apply()
    await promise
  }

  #log(): typeof silentLog {
    return Object.assign(Object.create(silentLog) as typeof silentLog, { info: () => this.#wasCut() })
  }

  async start(...names: string[]): Promise<Pod[]> {
    await this.node.start()
    const pods: Pod[] = []
    this.enforcer.set('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
    this.enforcer.set('profile', 'kns.default', { ingress: [ALLOW], egress: [ALLOW] })
    for (const name of names) {
      const pod = await this.node.add(name)
      pods.push(pod)
      this.enforcer.setLocal(keyOf(pod), { interfaceName: pod.interfaceName, profiles: ['kns.default'] })
      this.label(pod, name)
    }
    await this.apply()
    return pods
  }

  label(pod: Pod, app: string): void {
    const labels = { app, [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' }
    const endpoint: PolicyEndpoint = { kind: 'pod', labels, addresses: [pod.address], ports: [] }
    this.enforcer.set('endpoint', keyOf(pod), endpoint)
  }

  /** One pass as felix does it. */
  async apply(): Promise<void> {
    await this.enforcer.put()
    await this.enforcer.remove()
    this.revocation.want(this.enforcer.takeNarrowed())
  }

  async serve(pod: Pod): Promise<Talk> {
    return this.#talk(pod, SERVER)
  }

  async talk(pod: Pod, address: string): Promise<Talk> {
    return this.#talk(pod, CLIENT(address))
  }

  async #talk(pod: Pod, program: string): Promise<Talk> {
    const talk = new Talk(this.node.run(pod, process.execPath, ['-e', program], 'talk'))
    this.#talks.push(talk)
    if (!(await talk.hears('on', 20_000))) throw new Error('a program did not start')
    return talk
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.revocation.close()
    for (const talk of this.#talks) talk.end()
    await this.node[Symbol.asyncDispose]()
  }
}

const keyOf = ({ name }: Pod): string => `default/${name}`
const BOTH = { tcp: true, udp: true }
const NONE = { tcp: false, udp: false }

netns('what a policy denies by now is cut, TCP and UDP, and all other connections go on', async t => {
  await using world = new World()
  const { enforcer, node } = world
  const [web, friend, stranger] = (await world.start('web', 'friend', 'stranger')) as [Pod, Pod, Pod]
  const server = await world.serve(web)
  nft(node.space.path, ['-f', '-'], SERVICE)
  const kept = await world.talk(friend, web.address)
  const direct = await world.talk(stranger, web.address)
  const behind = await world.talk(stranger, '10.96.0.1')
  const probe = await world.talk({ ...web, space: node.space }, web.address)
  for (const each of [kept, direct, behind, probe]) t.deepEqual(await each.works(), BOTH)

  const friends = policy('friends', "app == 'web'", { ingress: [from("app == 'friend'")] })
  await world.cuts(() => enforcer.set('policy', 'friends', friends))
  t.deepEqual(await direct.works(), NONE)
  t.deepEqual(await behind.works(), NONE, 'nor behind a Service')
  t.deepEqual(await kept.works(), BOTH)
  t.deepEqual(await probe.works(), BOTH, 'what the node itself opened is not judged')

  // the server goes on sending: no new connection the other way round
  server.say('push')
  t.true(await kept.hears('tcp pushed'))
  t.false(await direct.hears('tcp pushed', 700))
  t.deepEqual(await direct.works(), NONE)

  // a label makes a friend of nobody
  await world.cuts(() => world.label(friend, 'nobody'))
  t.deepEqual(await kept.works(), NONE)

  // and a new connection after the denial is gone
  enforcer.set('policy', 'friends', undefined)
  await world.apply()
  t.deepEqual(await (await world.talk(stranger, web.address)).works(), BOTH)
})

netns(
  'what a pod may not send any more is cut where it sends, by networks and by the labels of a set of networks',
  async t => {
    await using world = new World()
    const { enforcer } = world
    const [web, other, client, bystander] = (await world.start('web', 'other', 'client', 'bystander')) as [
      Pod,
      Pod,
      Pod,
      Pod,
    ]
    await world.serve(web)
    await world.serve(other)
    const talks = [
      await world.talk(client, web.address),
      await world.talk(client, other.address),
      await world.talk(bystander, web.address),
    ] as const
    const set = (nets: readonly string[]) => enforcer.set('networkSet', 'nets', { labels: { role: 'servers' }, nets })
    set(['10.244.0.0/24'])
    const to: PolicyRule = { action: 'allow', source: {}, destination: { selector: "role == 'servers'" } }
    enforcer.set('policy', 'out', policy('out', "app == 'client'", { egress: [to] }))
    await world.apply()
    for (const talk of talks) t.deepEqual(await talk.works(), BOTH)

    await world.cuts(() => set([`${other.address}/32`]))
    t.deepEqual(await talks[0].works(), NONE)
    t.deepEqual(await talks[1].works(), BOTH)
    t.deepEqual(await talks[2].works(), BOTH, 'another pod, to the same server')

    world.revocation.configure('keep')
    enforcer.set('policy', 'out', policy('out', "app == 'client'", { egress: [] }))
    await world.apply()
    t.deepEqual(await talks[1].works(), BOTH, 'kept, as Calico does')
    await world.cuts(() => world.revocation.configure('cut'))
    t.deepEqual(await talks[1].works(), NONE, 'and cut when that changes')
  },
)
