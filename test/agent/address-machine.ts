// A machine with one uplink, and its addresses as an agent follows them.
import type { ExecutionContext } from 'ava'
import { OwnAddress } from '../../agent/node-address.ts'
import type { Resource } from '../../api/kinds.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import type { Family } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import type { aNode } from '../datastore/objects.ts'

/** A machine whose eth0 has these addresses and, if so, the default route. */
export async function aMachine(addresses: readonly string[], { gateway = true } = {}) {
  const kernel = new FakeWorld().kernel()
  const { index: ifindex } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  for (const address of addresses)
    await kernel.addAddress({ ifindex, address, length: 24, scope: ROUTE_SCOPE.universe })
  const route = { dst: '0.0.0.0/0', table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static } as const
  if (gateway)
    await kernel.changeRoutes([{ verb: 'add', route: { ...route, scope: 0, gateway: '192.0.2.1', ifindex } }])
  const clock = new ManualClock()
  const look = async (wanted: string, node?: ReturnType<typeof aNode>) => {
    const own = new OwnAddress({ kernel, clock, log: silentLog, wanted, changed: () => undefined })
    const found = await own.look({ node, families: [] })
    own.close()
    return (found?.ipv4 ?? found?.ipv6)?.address ?? own.refused()[0]?.message
  }
  return { kernel, clock, look, ifindex }
}

/**
 * The addresses of a machine as one agent follows them: it looks whenever it is told to. `look` and `look6` give the
 * address of a family; `setNode` is what the Node object says from now on.
 */
export async function aFollower(
  t: ExecutionContext,
  given: { wanted?: string; wantedIpv6?: string; node?: Resource<'Node'>; families?: readonly Family[] } = {},
) {
  const { wanted = 'auto', wantedIpv6, families = [] } = given
  let { node } = given
  const machine = await aMachine(['192.0.2.11'])
  const { kernel, clock, ifindex } = machine
  let asked = 0
  const own = new OwnAddress({ kernel, clock, log: silentLog, wanted, wantedIpv6, changed: () => asked++ })
  t.teardown(() => own.close())
  const look = async () => {
    asked = 0
    await own.look({ node, families })
    return own.found?.ipv4?.address
  }
  const look6 = async () => {
    await look()
    return own.found?.ipv6?.address
  }
  const setNode = (now: Resource<'Node'> | undefined) => {
    node = now
  }
  const address = (text: string) => {
    const length = text.includes(':') ? 64 : 24
    return { ifindex, address: text, length, scope: ROUTE_SCOPE.universe }
  }
  const turns = async () => {
    for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  }
  const change = async ({ add, remove }: { add?: string; remove?: string }) => {
    if (remove !== undefined) await kernel.deleteAddress(address(remove))
    if (add !== undefined) await kernel.addAddress(address(add))
    await turns()
  }
  return { ...machine, own, look, look6, setNode, change, turns, asked: () => asked }
}
