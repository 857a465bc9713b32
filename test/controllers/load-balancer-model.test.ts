// Random histories of Services, pools and programs that give addresses, over a bad network: requests are lost, land late and twice,
// watches are late, and a program is killed between any two requests. At any time every block is sound and no address lies in
// two. In the end each Service has what it asks for where that is free, blocks and statuses say the same, and nothing is left.
// Two programs at once may for a moment show an address that the other one has taken back; a program alone, whose requests go
// on to arrive after its end, never does, but where Services share: what a Service may have depends on the others then.
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { LoadBalancerPlan } from '../../controllers/load-balancer-plan.ts'
import { type Service, sharingClash } from '../../controllers/load-balancer-wish.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { isStoreError } from '../../datastore/port.ts'
import { parseBlock } from '../../ipam/block.ts'
import { serviceHolder, serviceHolders } from '../../ipam/load-balancer.ts'
import { addressAt } from '../../lib/ip.ts'
import { blockProblems } from '../ipam/calico-check.ts'
import { flakyStore, type Network, randomFrom } from '../ipam/flaky-store.ts'
import { ADDRESSES, addressesOf, aService, aServicePool, Giver, KEY, pass, settled } from './load-balancer-world.ts'

const NAMES = ['a', 'b', 'c', 'd'] as const
const WISHES = {
  plain: {},
  exact: { annotations: { [ADDRESSES]: '["198.51.100.2"]' } },
  other: { annotations: { [ADDRESSES]: '["203.0.113.1"]' } },
  second: { annotations: { 'projectcalico.org/ipv4pools': '["second"]' } },
  shared: { annotations: { [KEY]: 'k' } },
  'shared exact': { annotations: { [KEY]: 'k', [ADDRESSES]: '["198.51.100.2"]' } },
  'shared port': { annotations: { [KEY]: 'k' }, spec: { ports: [{ port: 81 }] } },
  both: { spec: { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'PreferDualStack' } },
} as const

/** Who leads. */
type Leaders = 'two at once' | 'one after the other'

type Op =
  | { do: 'make' | 'edit'; name: (typeof NAMES)[number]; wish: keyof typeof WISHES }
  | { do: 'delete' | 'leave'; name: (typeof NAMES)[number] }
  | { do: 'crash'; program: 0 | 1 }
  | { do: 'pool gone' | 'pool back' | 'v6' }
  | { do: 'wait'; seconds: number }

const name = fc.constantFrom(...NAMES)
const ALONE = (Object.keys(WISHES) as (keyof typeof WISHES)[]).filter(each => !each.startsWith('shared'))

const opOf = (leaders: Leaders): fc.Arbitrary<Op> => {
  const wish = fc.constantFrom(...(leaders === 'two at once' ? (Object.keys(WISHES) as typeof ALONE) : ALONE))
  return fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('make' as const, 'edit' as const), name, wish }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('delete' as const, 'leave' as const), name }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('crash' as const), program: fc.constantFrom(0 as const, 1 as const) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constantFrom('pool gone' as const, 'pool back' as const, 'v6' as const) }),
    },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 6 }) }) },
  )
}

const POOLS = {
  first: { cidr: '198.51.100.0/30', blockSize: 31 },
  second: { cidr: '203.0.113.0/31', blockSize: 31 },
  v6: { cidr: '2001:db8:1::/126', blockSize: 127 },
}

class World {
  readonly store: FakeStore = createFakeStore()
  readonly faults: string[] = []
  readonly #random: () => number
  /** Of programs that ended. */
  readonly #ended: Network[] = []
  readonly #programs: { giver: Giver; network: Network }[] = []

  readonly #leaders: Leaders

  constructor(seed: number, leaders: Leaders) {
    this.#random = randomFrom(seed)
    this.#leaders = leaders
  }

  async begin(): Promise<void> {
    for (const pool of ['first', 'second'] as const) await this.store.create('IPPool', aServicePool(pool, POOLS[pool]))
    this.#programs.push(this.#program())
    if (this.#leaders === 'two at once') this.#programs.push(this.#program())
  }

  #program() {
    const { store, network } = flakyStore(this.store, this.#random)
    return { giver: new Giver(store), network }
  }

  async apply(step: Op): Promise<void> {
    try {
      await this.#apply(step)
    } catch (error) {
      if (!isStoreError(error)) throw error // a Service that is not there is not edited
    }
    await settled(2)
    await this.#look()
  }

  async #apply(step: Op): Promise<void> {
    const at = { namespace: 'default' }
    switch (step.do) {
      case 'make':
        await this.store.create('Service', aService(step.name, WISHES[step.wish]))
        break
      case 'edit': {
        const { metadata, spec } = aService(step.name, WISHES[step.wish])
        const annotations = {
          [ADDRESSES]: null,
          'projectcalico.org/ipv4pools': null,
          [KEY]: null,
          ...metadata.annotations,
        }
        await this.store.patch('Service', step.name, { metadata: { annotations }, spec }, at)
        break
      }
      case 'delete':
        await this.store.delete('Service', step.name, at)
        break
      case 'leave':
        await this.store.patch('Service', step.name, { spec: { type: 'ClusterIP', loadBalancerClass: null } }, at)
        break
      case 'crash': {
        // what it sent may arrive all the same
        const which = step.program % this.#programs.length
        const { giver, network } = this.#programs[which]!
        giver.kill()
        this.#ended.push(network)
        this.#programs[which] = this.#program()
        break
      }
      case 'pool gone':
        await this.store.delete('IPPool', 'second')
        break
      case 'pool back':
        await this.store.create('IPPool', aServicePool('second', POOLS.second))
        break
      case 'v6':
        await this.store.create('IPPool', aServicePool('v6', POOLS.v6))
        break
      case 'wait':
        for (let i = 0; i < step.seconds; i++) {
          for (const { giver, network } of this.#programs) {
            giver.clock.advance(1_000)
            network.tick()
          }
          for (const network of this.#ended) network.tick()
          await settled(6)
          await this.#look()
        }
    }
  }

  async #look(): Promise<void> {
    const services = await this.store.list('Service')
    const blocks = await this.store.list('IPAMBlock')
    this.faults.push(...blockProblems(blocks, Date.now()))
    const given = new Map<string, Set<string>>()
    for (const block of blocks.map(parseBlock))
      for (const [ordinal, slot] of block.slots.entries())
        if (slot !== null) {
          const address = addressAt(block.cidr, ordinal)
          if (given.has(address)) this.faults.push(`${address} is given by two blocks`)
          given.set(address, new Set(serviceHolders(slot).map(({ handle }) => handle)))
        }
    if (this.#leaders === 'two at once') return
    for (const service of services) {
      if (service.spec.type !== 'LoadBalancer') continue
      for (const address of addressesOf(service))
        if (!given.get(address)?.has(serviceHolder(service.metadata).handle))
          this.faults.push(`${service.metadata.name} shows ${address}, which no block gives it`)
    }
  }

  /** The network is good, and one program is left. */
  async end(): Promise<void> {
    for (const network of [...this.#ended, ...this.#programs.map(each => each.network)]) network.heal()
    if (this.#programs.length > 1) await this.#programs.pop()!.giver.close()
    const { giver } = this.#programs[0]!
    await pass(180, giver)
    const [pools, blocks, services] = await Promise.all([
      this.store.list('IPPool'),
      this.store.list('IPAMBlock'),
      this.store.list('Service'),
    ])
    const inputs = { assignIPs: 'AllServices', pools, reserved: [], selectsNamespace: () => undefined } as const
    const plan = new LoadBalancerPlan(inputs, services, blocks)
    for (const { name: stranger } of plan.strangers()) this.faults.push(`${stranger} is gone and has an address`)
    for (const spare of plan.spares()) this.faults.push(`${spare} is not given back`)
    for (const service of services) this.#finished(service, plan, services)
    if (giver.failures().length > 0) this.faults.push(`${giver.failures()[0]!.error.message}`)
    await giver.close()
  }

  /** What a Service is refused must not be free. */
  #finished(service: Service, plan: LoadBalancerPlan, services: readonly Service[]): void {
    const { name: its } = service.metadata
    const step = plan.step(service)
    const isFull = (pool: string) => plan.shut(pool)
    if (step.do === 'claim') {
      // no block is free any more: those of a pool that has another block of all its range
      for (const pool of ['first', 'second', 'v6']) isFull(pool)
      const again = plan.step(service)
      if (again.do !== 'nothing') this.faults.push(`${its} waits for ${again.do}`)
      return
    }
    if (step.do !== 'nothing') this.faults.push(`${its} waits for ${JSON.stringify(step)}`)
    for (const other of services)
      if (other !== service && addressesOf(other).some(address => addressesOf(service).includes(address))) {
        const clash = sharingClash(service, other)
        if (clash !== undefined) this.faults.push(`${its} and ${other.metadata.name} have one address: ${clash}`)
      }
  }
}

async function play(t: ExecutionContext, leaders: Leaders): Promise<void> {
  t.timeout(100_000)
  let given = 0
  const history = fc.array(opOf(leaders), { minLength: 15, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0 }), history, async (seed, steps) => {
      const world = new World(seed, leaders)
      await world.begin()
      for (const step of steps) await world.apply(step)
      await world.end()
      given += (await world.store.list('Service')).flatMap(addressesOf).length
      const faults = [...new Set(world.faults)].slice(0, 10)
      for (const fault of faults) t.log(fault)
      if (faults.length > 0) throw new Error(faults.join('\n'))
    }),
    { numRuns: Number(process.env['MARGAY_RUNS'] ?? 30), endOnFailure: true },
  )
  t.true(given > 0)
}

test('no address is of two Services, and each has one in the end, whatever two leaders at once do', async t => {
  await play(t, 'two at once')
})

test('no Service ever shows an address that no block gives it, wherever the leader is killed', async t => {
  await play(t, 'one after the other')
})
