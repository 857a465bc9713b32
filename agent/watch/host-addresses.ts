// Addresses of this machine that are a pod's: what this node and its pods send there stays here. Nothing is removed: whoever added it
// means something by it.
// Hazard: kube-proxy and load balancers give a machine thousands of addresses, all of Services.
import { broken, type Condition } from '../../api/status.ts'
import { INTERFACE_PREFIX } from '../../cni/interface-name.ts'
import { TUNNEL_DEVICES } from '../../felix/calc/tunnels.ts'
import type { Address } from '../../kernel/port/addresses.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Kernel, KernelMonitor } from '../../kernel/port/kernel.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import type { Clock } from '../../lib/clock.ts'
import { familyOf } from '../../lib/ip.ts'
import { SoonestTimer } from '../../lib/soonest-timer.ts'
import { type AddressClaims, claimantOf } from './address-claims.ts'

export type HostAddressesDeps = {
  kernel: Pick<Kernel, 'addresses' | 'link' | 'monitor' | 'authorText'>
  clock: Clock
  claims: () => AddressClaims
  report: (conditions: readonly Condition[]) => void
}

/** Addresses come in bursts; and one that moves, as a floating one does, is on two machines for a moment. */
const SOON_MS = 1500
/** Pods come and go too. */
const LOOK_MS = 10_000
/** More of them are one mistake. */
const MOST_TOLD = 20
/** WireGuard of Calico, whose addresses are of its pools. */
const OF_CALICO: readonly string[] = ['wireguard.cali', 'wg-v6.cali']

type Held = { address: Address; by: string | undefined }

export class HostAddresses {
  readonly #deps: HostAddressesDeps
  /** By interface and address. */
  readonly #held = new Map<string, Held>()
  readonly #timer: SoonestTimer
  #monitor: KernelMonitor | undefined
  #isRead = false
  #told = false
  #looking = false
  #closed = false

  constructor(deps: HostAddressesDeps) {
    this.#deps = deps
    this.#timer = new SoonestTimer(deps.clock, () => void this.#look())
  }

  start(): void {
    const { kernel } = this.#deps
    this.#monitor = kernel.monitor(event => {
      if (event.type === 'overrun') {
        this.#isRead = false
        this.#timer.within(SOON_MS)
      } else if (event.type === 'address') {
        const by = event.by && kernel.authorText(event.by)
        this.#saw(event.address, by)
      } else if (event.type === 'address-gone' && this.#held.delete(keyOf(event.address)) && this.#told)
        this.#timer.within(0)
    })
    this.#timer.within(0)
  }

  close(): void {
    this.#closed = true
    this.#timer.cancel()
    this.#monitor?.close()
  }

  #saw(address: Address, by: string | undefined): void {
    if (address.scope !== ROUTE_SCOPE.universe) return
    const key = keyOf(address)
    const known = this.#held.get(key)
    // a reading may be before the event of what it reads
    if (known !== undefined) {
      known.by ??= by
      return
    }
    this.#held.set(key, { address, by })
    if (!this.#closed) this.#timer.within(SOON_MS)
  }

  /** Never rejects: what cannot be read now is read at the next look. */
  async #look(): Promise<void> {
    if (this.#looking) {
      this.#timer.within(SOON_MS)
      return
    }
    this.#looking = true
    try {
      if (!this.#isRead) await this.#read()
      const claims = this.#deps.claims()
      const found: Condition[] = []
      for (const { address, by } of this.#held.values()) {
        if (found.length === MOST_TOLD) break
        const owner = claimantOf(address.address, claims)
        if (owner === undefined) continue
        const name = (await this.#deps.kernel.link(address.ifindex))?.name
        if (name !== undefined && !isOurs(name)) found.push(tookAddress({ address, interfaceName: name, by, owner }))
      }
      if (this.#closed) return
      if (found.length > 0 || this.#told) this.#deps.report(found)
      this.#told = found.length > 0
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
    } finally {
      this.#looking = false
      if (!this.#closed) this.#timer.within(LOOK_MS)
    }
  }

  /** Of those that are known already it stays known who made them. */
  async #read(): Promise<void> {
    this.#isRead = true
    try {
      const now = await this.#deps.kernel.addresses()
      const keys = new Set(now.map(keyOf))
      for (const key of this.#held.keys()) if (!keys.has(key)) this.#held.delete(key)
      for (const address of now) this.#saw(address, undefined)
    } catch (error) {
      this.#isRead = false
      throw error
    }
  }
}

function isOurs(interfaceName: string): boolean {
  return (
    TUNNEL_DEVICES.has(interfaceName) || OF_CALICO.includes(interfaceName) || interfaceName.startsWith(INTERFACE_PREFIX)
  )
}

function keyOf({ ifindex, address, length }: Address): string {
  return `${ifindex} ${address}/${length}`
}

type Took = Held & { interfaceName: string; owner: string }

function tookAddress({ address: { address, length }, interfaceName, by, owner }: Took): Condition {
  const given = by === undefined ? '' : `, given by ${by}`
  const command = familyOf(address) === 'ipv6' ? 'ip -6 address' : 'ip address'
  return broken('AddressesUnique', {
    object: { kind: 'Address', name: address },
    reason: 'HostTookAddress',
    message: `this node itself has ${address} on ${interfaceName}${given}: it is ${owner}, and what this node and its pods send there stays here`,
    remedy: `remove it (${command} del ${address}/${length} dev ${interfaceName}), and what adds it; if it is meant to be this node's, reserve it in an IPReservation and restart the pod that has it`,
  })
}
