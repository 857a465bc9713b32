// What the tests of the addresses of Services build on: Services, pools, and programs that give addresses over a store each.
import type { Resource } from '../../api/kinds.ts'
import { Chores } from '../../controllers/chores.ts'
import { LoadBalancer } from '../../controllers/load-balancer.ts'
import type { AssignIPs, Service } from '../../controllers/load-balancer-wish.ts'
import { keyOf } from '../../controllers/service-status.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Store, Watch } from '../../datastore/port.ts'
import { parseBlock } from '../../ipam/block.ts'
import { serviceHolder, serviceHolders } from '../../ipam/load-balancer.ts'
import { addressAt } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { aPool, aResource } from '../datastore/objects.ts'
import { ProcessClock } from './world.ts'

export const KEY = 'margay.io/AllowSharedIP'
export const ADDRESSES = 'projectcalico.org/loadBalancerIPs'

export type Wanted = {
  namespace?: string
  uid?: string
  annotations?: Record<string, string>
  created?: string
  spec?: object
  status?: object
}

/** A Service of type LoadBalancer with port 80 and the class of this program. */
export function aService(
  name: string,
  { namespace = 'default', annotations = {}, spec, status, uid, created }: Wanted = {},
): Service {
  return aResource('Service', {
    metadata: { name, namespace, annotations, ...(uid && { uid }), ...(created && { creationTimestamp: created }) },
    spec: {
      ...{ type: 'LoadBalancer', loadBalancerClass: 'margay', ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' },
      ports: [{ port: 80, protocol: 'TCP' }],
      ...spec,
    },
    ...(status && { status }),
  })
}

export function aServicePool(name: string, spec: object = {}, metadata: object = {}): Resource<'IPPool'> {
  return aPool(name, { cidr: '198.51.100.0/28', blockSize: 30, allowedUses: ['LoadBalancer'], ...spec }, metadata)
}

/** One that believes that it leads, over watches of its own. */
export class Giver {
  readonly clock = new ProcessClock()
  readonly chore: LoadBalancer
  readonly #chores: Chores
  readonly #watch: Watch
  readonly #pools = new Map<string, Resource<'IPPool'>>()
  #synced = false
  assignIPs: AssignIPs | undefined = 'AllServices'

  constructor(store: Store) {
    const hurry = () => this.#chores.hurry(this.chore.name)
    this.chore = new LoadBalancer({
      ...{ store, clock: this.clock, log: silentLog, changed: hurry },
      assignIPs: () => this.assignIPs,
      pools: () => (this.#synced ? [...this.#pools.values()] : undefined),
    })
    this.#chores = new Chores([this.chore], { clock: this.clock, log: silentLog })
    this.#watch = store.watch('IPPool', {
      event: event => {
        if (event.type === 'sync') this.#pools.clear()
        this.#synced = true
        for (const item of event.type === 'sync' ? event.items : [event.item])
          if (event.type === 'gone') this.#pools.delete(item.metadata.name)
          else this.#pools.set(item.metadata.name, item)
        hurry()
      },
    })
    this.#chores.lead(true)
  }

  failures() {
    return this.#chores.failures()
  }

  hurry(): void {
    this.#chores.hurry(this.chore.name)
  }

  /** It ends: nothing that it began gets further than its store lets it. */
  kill(): void {
    this.chore.close()
    this.#watch.close()
    this.#chores.lead(false)
  }

  async close(): Promise<void> {
    this.kill()
    await this.#chores.close()
  }
}

export async function settled(turns = 12): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate)
}

/** In steps of a second. */
export async function pass(seconds: number, ...givers: readonly Giver[]): Promise<void> {
  for (let i = 0; i < seconds; i++) {
    for (const { clock } of givers) clock.advance(1_000)
    await settled()
  }
}

/** The addresses in the status of each Service, by its name. */
export async function shown(store: Store): Promise<Record<string, string>> {
  const services = await store.list('Service')
  return Object.fromEntries(
    services.map(service => [keyOf(service.metadata).replace('default/', ''), addressesOf(service).join(' ')]),
  )
}

export function addressesOf({ status }: Service): string[] {
  return (status?.loadBalancer?.ingress ?? []).map(({ ip = '?' }) => ip)
}

/** Who has each address by the blocks: handles that no Service has are told as they are. */
export async function given(store: Store): Promise<Record<string, string>> {
  const names = new Map(
    (await store.list('Service')).map(({ metadata }) => [
      serviceHolder(metadata).handle,
      keyOf(metadata).replace('default/', ''),
    ]),
  )
  const blocks = (await store.list('IPAMBlock')).map(parseBlock)
  const all = blocks.flatMap(block =>
    block.slots.flatMap((slot, ordinal) =>
      slot === null
        ? []
        : [
            [
              addressAt(block.cidr, ordinal),
              serviceHolders(slot)
                .map(({ handle }) => names.get(handle) ?? handle)
                .join(' '),
            ] as const,
          ],
    ),
  )
  return Object.fromEntries(all)
}

/** What the status says why a Service has not what it asks for. */
export async function refusalOf(store: Store, name: string): Promise<string | undefined> {
  const { status } = await store.get('Service', name, 'default')
  const said = status?.conditions?.find(({ type }) => type === 'margay.io/AddressAssigned')
  return said?.status === 'False' ? `${said.reason}: ${said.message.split(';')[0]}` : undefined
}

/** A cluster with these pools and Services, and a program that leads. `over`: what that program sees of the store. */
export async function aCluster(
  pools = [aServicePool('lb')],
  over: (store: FakeStore) => Store = store => store,
  services: readonly Service[] = [],
) {
  const store = createFakeStore()
  for (const pool of pools) await store.create('IPPool', pool)
  for (const { metadata, ...service } of services) {
    await store.create('Service', { metadata, ...service })
    const { name, namespace } = metadata
    await store.patch('Service', name, { status: service.status }, { namespace, subresource: 'status' })
  }
  const giver = new Giver(over(store))
  const add = async (name: string, wanted?: Wanted) => {
    await store.create('Service', aService(name, wanted))
    await pass(2, giver)
  }
  const edit = async (name: string, change: object) => {
    await store.patch('Service', name, change, { namespace: 'default' })
    await pass(3, giver)
  }
  return { store, giver, add, edit }
}

export const ipOf = (address: string) => ({ annotations: { [ADDRESSES]: JSON.stringify([address]) } })
