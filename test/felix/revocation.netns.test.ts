// Established connections of real pods through the rules of policies that change.
// Over 400 lines: one world of pods, machines and programs that talk for long, which each test needs.
import { type ChildProcess, execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { felixSettings } from '../../agent/cluster/settings.ts'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { LABEL, type Policy, type PolicyEndpoint, type PolicyRule } from '../../felix/policy/model.ts'
import { Revocation } from '../../felix/revocation.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { ANSWER_MS, SILENCE_MS } from '../slowness.ts'
import { type Pod, PodNode } from './pod-node.ts'
import type { Told } from './revoking-child.ts'
import { CLIENT, SERVER, Talk } from './talks.ts'

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

class World implements AsyncDisposable {
  readonly node = new PodNode()
  readonly enforcer = new PolicyEnforcer(this.node.kernel, { table: 'margay-policy', interfacePrefix: 'cali' })
  readonly revocation = new Revocation({
    ...{ kernel: this.node.kernel, policy: this.enforcer, clock: systemClock, log: this.#log() },
    sourcesOf: () => [],
    told: async () => void (await this.enforcer.put()),
    report: condition => {
      if (condition !== undefined) throw new Error(condition.message)
    },
    cut: () => undefined,
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
    const endpoint: PolicyEndpoint = { kind: 'pod', labels, addresses: [pod.address, pod.address6], ports: [] }
    this.enforcer.set('endpoint', keyOf(pod), endpoint)
  }

  /** One pass as felix does it. */
  async apply(): Promise<void> {
    await this.enforcer.put()
    await this.enforcer.remove()
    this.revocation.want(this.enforcer.takeNarrowed(), undefined)
  }

  /** Another machine, reached over an interface of the host that no pod has. */
  machine(name: string, interfaceName: string): Promise<Pod> {
    return this.node.add(name, interfaceName)
  }

  /** The host itself, with addresses of its own. */
  async host(): Promise<Pick<Pod, 'space' | 'address' | 'address6'>> {
    const { kernel, space } = this.node
    const { index: ifindex } = (await kernel.link('lo'))!
    await kernel.setLink(ifindex, { up: true })
    const [address, address6] = ['192.0.2.1', 'fd00:2::1']
    await kernel.addAddress({ ifindex, address, length: 32, scope: ROUTE_SCOPE.universe })
    await kernel.addAddress({ ifindex, address: address6, length: 128, scope: ROUTE_SCOPE.universe, noDad: true })
    return { space, address, address6 }
  }

  async serve(pod: Pick<Pod, 'space'>): Promise<Talk> {
    return this.#talk(pod, SERVER)
  }

  async talk(pod: Pick<Pod, 'space'>, address: string, source?: string): Promise<Talk> {
    return this.#talk(pod, CLIENT(address, source))
  }

  async #talk(pod: Pick<Pod, 'space'>, program: string): Promise<Talk> {
    const talk = new Talk(this.node.run(pod, process.execPath, ['-e', program], 'talk'))
    this.#talks.push(talk)
    if (!(await talk.hears('on'))) throw new Error('a program did not start')
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
  t.deepEqual(await direct.works(SILENCE_MS), NONE)
  t.deepEqual(await behind.works(SILENCE_MS), NONE, 'nor behind a Service')
  t.deepEqual(await kept.works(), BOTH)
  t.deepEqual(await probe.works(), BOTH, 'what the node itself opened is not judged')

  // the server goes on sending: no new connection the other way round
  server.say('push')
  t.true(await kept.hears('tcp pushed'))
  t.false(await direct.hears('tcp pushed', SILENCE_MS))
  t.deepEqual(await direct.works(SILENCE_MS), NONE)

  // a label makes a friend of nobody
  await world.cuts(() => world.label(friend, 'nobody'))
  t.deepEqual(await kept.works(SILENCE_MS), NONE)

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
    t.deepEqual(await talks[0].works(SILENCE_MS), NONE)
    t.deepEqual(await talks[1].works(), BOTH)
    t.deepEqual(await talks[2].works(), BOTH, 'another pod, to the same server')

    world.revocation.configure('keep')
    enforcer.set('policy', 'out', policy('out', "app == 'client'", { egress: [] }))
    await world.apply()
    t.deepEqual(await talks[1].works(), BOTH, 'kept, as Calico does')
    await world.cuts(() => world.revocation.configure('cut'))
    t.deepEqual(await talks[1].works(SILENCE_MS), NONE, 'and cut when that changes')
  },
)

netns('a connection that was cut is not taken up again when the agent was killed and starts anew', async t => {
  await using world = new World()
  const { node } = world
  await node.start()
  const [web, stranger] = [await node.add('web'), await node.add('stranger')]
  const pods = [web, stranger].map(pod => {
    const { name, address, address6, interfaceName, space } = pod
    return { name, addresses: [address, address6], interfaceName, mac: macOf(pod), netns: space.path }
  })
  const policies = [policy('friends', "app == 'web'", { ingress: [from("app == 'friend'")] })]
  const told: Told = { netns: node.space.path, pods, policies }
  await using open = new Agent({ ...told, policies: [] })
  await open.says('synced')
  const server = await world.serve(web)
  const talk = await world.talk(stranger, web.address)
  t.deepEqual(await talk.works(), BOTH)
  await open.kill()

  await using first = new Agent(told)
  await first.says('cut')
  t.deepEqual(await talk.works(SILENCE_MS), NONE)
  await first.kill()
  const cut = () => nft(node.space.path, ['list', 'set', 'inet', 'margay-policy', 'cut'])
  t.regex(cut(), new RegExp(web.interfaceName))

  await using second = new Agent(told)
  await second.says('synced')
  server.say('push')
  t.false(await talk.hears('tcp pushed', SILENCE_MS))
  t.deepEqual(await talk.works(SILENCE_MS), NONE)
  t.regex(cut(), new RegExp(web.interfaceName))
})

function macOf({ space }: Pod): string {
  const args = [`--net=${space.path}`, '--', systemProgram('ip'), '-j', 'link', 'show', 'dev', 'eth0']
  return JSON.parse(execFileSync(systemProgram('nsenter'), args, { encoding: 'utf8' }))[0].address
}

/** Felix in a process of its own. */
class Agent implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #said: string[] = []
  #heard = () => {}

  constructor(told: Told) {
    this.#child = fork(fileURLToPath(import.meta.resolve('./revoking-child.ts')), [JSON.stringify(told)])
    this.#child.on('message', text => {
      this.#said.push(text as string)
      this.#heard()
    })
    this.#child.on('exit', () => this.#heard())
  }

  async says(text: string): Promise<void> {
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 20_000)
    while (!this.#said.includes(text)) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error(`it never said ${text}`)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#heard = resolve
      await promise
    }
    clearTimeout(late)
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

/** The address of the family under test. */
const FAMILIES = { IPv4: 'address', IPv6: 'address6' } as const

for (const [family, address] of Object.entries(FAMILIES)) {
  netns(`over ${family} what a policy of pods denies by now is cut, and what it allows goes on`, async t => {
    await using world = new World()
    const { enforcer } = world
    const [web, friend, stranger] = (await world.start('web', 'friend', 'stranger')) as [Pod, Pod, Pod]
    const server = await world.serve(web)
    const kept = await world.talk(friend, web[address])
    const cut = await world.talk(stranger, web[address])
    for (const each of [kept, cut]) t.deepEqual(await each.works(), BOTH)
    const friends = policy('friends', "app == 'web'", { ingress: [from("app == 'friend'")] })
    await world.cuts(() => enforcer.set('policy', 'friends', friends))
    t.deepEqual(await cut.works(SILENCE_MS), NONE)
    server.say('push')
    t.true(await kept.hears('tcp pushed'))
    t.false(await cut.hears('tcp pushed', SILENCE_MS))
    t.deepEqual([await cut.works(SILENCE_MS), await kept.works()], [NONE, BOTH])
  })

  netns(
    `over ${family} what a host endpoint denies by now is cut, and all that goes by other interfaces goes on`,
    async t => {
      await using world = new World()
      const { enforcer } = world
      const [pod] = (await world.start('pod')) as [Pod]
      const [near, far] = [await world.machine('near', 'eth0'), await world.machine('far', 'eth1')]
      const host = await world.host()
      const server = await world.serve(host)
      for (const each of [pod, near]) await world.serve(each)
      const talks = {
        in: await world.talk(near, host[address]),
        out: await world.talk(host, near[address]),
        'forwarded in': await world.talk(near, pod[address]),
        'forwarded out': await world.talk(pod, near[address]),
        'in by eth1': await world.talk(far, host[address]),
        'forwarded by eth1': await world.talk(far, pod[address]),
        'to its own pod': await world.talk(host, pod[address]),
      }
      const all = Object.keys(talks)
      const left = new Set(all)
      const works = async () => {
        const found = await Promise.all(
          Object.entries(talks).map(async ([name, talk]) => {
            const found = await talk.works(left.has(name) ? ANSWER_MS : SILENCE_MS)
            return [name, JSON.stringify(found)] as const
          }),
        )
        t.deepEqual(
          [...new Set(found.map(([, text]) => text))].filter(text => ![ON, OFF].includes(text)),
          [],
        )
        return found.filter(([, text]) => text === ON).map(([name]) => name)
      }
      t.deepEqual(await works(), all)

      enforcer.setHostRules(felixSettings(undefined).hosts!, { ipip: false, vxlan: false, vxlanPort: 4789 })
      enforcer.set('endpoint', 'h', { kind: 'host', labels: { host: 'yes' }, addresses: [], ports: [] })
      enforcer.setHost('h', { interfaceName: 'eth0', addresses: [], profiles: ['kns.default'] })
      await world.apply()
      t.deepEqual(await works(), all, 'its profile allows')

      const denies = async (name: string, of: Partial<Policy>, cut: string) => {
        left.delete(cut)
        await world.cuts(() => enforcer.set('policy', name, policy(name, "host == 'yes'", of)))
        t.deepEqual(await works(), [...left])
      }
      const deny: PolicyRule = { action: 'deny', source: {}, destination: {} }
      await denies('in', { ingress: [deny] }, 'in')
      server.say('push')
      t.true(await talks['in by eth1'].hears('tcp pushed'))
      t.false(await talks.in.hears('tcp pushed', SILENCE_MS), 'no new connection the other way round')
      await denies('out', { egress: [deny] }, 'out')
      await denies('through', { hostStage: 'preDNAT', order: 1, ingress: [deny] }, 'forwarded in')
      await denies('leaving', { hostStage: 'forward', egress: [deny] }, 'forwarded out')
    },
  )

  netns(
    `over ${family} a host with an uplink for each of its addresses has connections of the one that denies cut, and those of the other go on`,
    async t => {
      await using world = new World()
      const { enforcer, node } = world
      await world.start()
      // both reach the first uplink by the routes of all; answers from the second address leave by the second one
      const [near, far] = [await world.machine('near', 'eth0'), await world.machine('far', 'eth1')]
      const host = await world.host()
      const [second, bits] = family === 'IPv4' ? ['192.0.2.2', 32] : ['fd00:2::2', 128]
      const ip = (...args: string[]) =>
        execFileSync(systemProgram('nsenter'), [
          ...[`--net=${node.space.path}`, '--', systemProgram('ip')],
          ...[family === 'IPv4' ? '-4' : '-6', ...args],
        ])
      ip('address', 'add', `${second}/${bits}`, 'dev', 'lo', ...(family === 'IPv6' ? ['nodad'] : []))
      ip('rule', 'add', 'from', second, 'lookup', '101')
      ip('route', 'add', far[address], 'dev', 'eth1', 'table', '101')
      ip('route', 'replace', far[address], 'dev', 'eth0')
      await world.serve(host)
      await world.serve(far)
      const cut = await world.talk(near, host[address])
      const ofSecond = [await world.talk(far, second), await world.talk(host, far[address], second)]
      // a datagram is answered from any address
      const go = (withinMs?: number) => Promise.all(ofSecond.map(each => each.tcpWorks(withinMs)))
      // where the interface is open a connection that was cut goes on as a new one
      const entries = async () => {
        const ids = new Set<number>()
        await node.kernel.flowsOf(new Set([second]), ({ id, original }) => original.protocol === 6 && ids.add(id))
        return [...ids].sort()
      }
      t.deepEqual(await cut.works(), BOTH)
      t.deepEqual(await go(), [true, true])
      enforcer.setHostRules(felixSettings(undefined).hosts!, { ipip: false, vxlan: false, vxlanPort: 4789 })
      for (const name of ['eth0', 'eth1']) {
        enforcer.set('endpoint', name, { kind: 'host', labels: { name }, addresses: [], ports: [] })
        enforcer.setHost(name, { interfaceName: name, addresses: [], profiles: ['kns.default'] })
      }
      await world.apply()
      const deny: PolicyRule = { action: 'deny', source: {}, destination: {} }
      const of = (name: string) => policy('shut', `name == '${name}'`, { ingress: [deny], egress: [deny] })
      const before = await entries()
      t.is(before.length, 2)
      await world.cuts(() => enforcer.set('policy', 'shut', of('eth0')))
      t.deepEqual(await cut.works(SILENCE_MS), NONE)
      t.deepEqual(await entries(), before)
      t.deepEqual(await go(), [true, true])
      await world.cuts(() => enforcer.set('policy', 'shut', of('eth1')))
      t.deepEqual(await go(SILENCE_MS), [false, false])
    },
  )
}

const [ON, OFF] = [BOTH, NONE].map(each => JSON.stringify(each)) as [string, string]
