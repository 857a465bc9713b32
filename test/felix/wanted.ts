// What a world leads to, as lists and as lines of `ip`.
import type { Condition } from '../../api/status.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { calculated, type World } from './worlds.ts'

/** What a world leads to, in lists sorted by key. */
export function desiredState(world: World) {
  const { link, address, route, neighbour, fdb, sysctl, condition } = calculated(world).wanted()
  return {
    podLinks: values(link).filter(({ kind }) => kind === undefined),
    tunnels: values(link).filter(({ kind }) => kind !== undefined),
    addresses: values(address),
    routes: values(route),
    neighbours: values(neighbour),
    fdb: values(fdb),
    sysctls: values(sysctl),
    conditions: values(condition),
  }
}

function values<V>(map: ReadonlyMap<string, V>): V[] {
  return [...map].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value)
}

/** A condition in one line. */
export function said({ type, object, reason }: Condition): string {
  return `${type} ${object?.kind} ${object?.name} ${reason}`
}

/** Routes as `ip route` words them, sorted. */
export function lines(input: World): string[] {
  return desiredState(input).routes.map(line).toSorted()
}

function line({ dst, type, gateway, interfaceName, protocol, scope, onlink, metric }: NamedRoute): string {
  const proto = { 3: 'boot' }[protocol] ?? protocol
  return [
    type === 'blackhole' ? 'blackhole ' : '',
    dst,
    gateway === undefined ? '' : ` via ${gateway}`,
    interfaceName === undefined ? '' : ` dev ${interfaceName}`,
    ` proto ${proto}`,
    scope === 253 ? ' scope link' : '',
    metric === undefined ? '' : ` metric ${metric}`,
    onlink === true ? ' onlink' : '',
  ].join('')
}
