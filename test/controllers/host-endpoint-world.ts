// What the tests of HostEndpoints build on: the chore alone over a fake API server, with what it writes counted.
import type { Resource } from '../../api/kinds.ts'
import { Chores } from '../../controllers/chores.ts'
import { HostEndpoints } from '../../controllers/host-endpoints.ts'
import { hostEndpointSettings } from '../../controllers/settings.ts'
import type { FakeStore } from '../../datastore/fake.ts'
import type { Store } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'
import { Line } from './world.ts'

export const AUTO = { 'projectcalico.org/created-by': 'calico-kube-controllers' }
export const ENABLED = { autoCreate: 'Enabled' }

export function aConfiguration(hostEndpoint: object): Resource<'KubeControllersConfiguration'> {
  const spec = { controllers: { node: { hostEndpoint } } }
  return aResource('KubeControllersConfiguration', { metadata: { name: 'default' }, spec })
}

export function aHostEndpoint(name: string, labels: object, spec: object = {}): Resource<'HostEndpoint'> {
  return aResource('HostEndpoint', { metadata: { name, labels }, spec: { node: 'n1', interfaceName: 'eth0', ...spec } })
}

export function aNodeAt(name: string, address: string, metadata: object = {}): Resource<'Node'> {
  return { ...aNode(name, metadata), status: { addresses: [{ type: 'InternalIP', address }] } }
}

export class World {
  readonly clock = new ManualClock()
  readonly line: Line
  readonly chore: HostEndpoints
  readonly #chores: Chores
  #configuration: Resource<'KubeControllersConfiguration'> | undefined
  writes = 0

  constructor(store: FakeStore, hostEndpoint?: object) {
    this.line = new Line(store)
    const inner = this.line.store
    const counted: Store = {
      ...inner,
      create: (kind, object) => this.#counted(() => inner.create(kind, object)),
      update: (kind, object) => this.#counted(() => inner.update(kind, object)),
      delete: (kind, name, options) => this.#counted(() => inner.delete(kind, name, options)),
    }
    this.chore = new HostEndpoints({
      ...{ store: counted, log: silentLog },
      settings: () => this.#configuration && hostEndpointSettings(this.#configuration),
      changed: () => this.#chores.hurry(this.chore.name),
    })
    this.#chores = new Chores([this.chore], { clock: this.clock, log: silentLog })
    if (hostEndpoint !== undefined) this.#configuration = aConfiguration(hostEndpoint)
    this.#chores.lead(true)
  }

  async #counted<T>(write: () => Promise<T>): Promise<T> {
    this.writes++
    return write()
  }

  configure(hostEndpoint: object | undefined): void {
    this.#configuration = hostEndpoint && aConfiguration(hostEndpoint)
    this.#chores.hurry(this.chore.name)
  }

  failures(): string[] {
    return this.#chores.failures().map(({ error }) => error.message)
  }

  async pass(seconds: number): Promise<void> {
    for (let i = 0; i < seconds; i++) {
      this.clock.advance(1_000)
      for (let turn = 0; turn < 8; turn++) await new Promise(setImmediate)
    }
  }

  async close(): Promise<void> {
    this.chore.close()
    await this.#chores.close()
  }
}
