// A node in a real kernel that enforces the policies of a world, with the other ends of its pods' interfaces in one namespace.
import { podProfiles } from '../../agent/cluster/policies/endpoints.ts'
import { PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import { felixSettings } from '../../agent/cluster/settings.ts'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route } from '../../kernel/port/routes.ts'
import type { ScratchNetns } from '../kernel/scratch-netns.ts'
import { keyOf, kindOf, resourceOf } from './model.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'

export const UPLINK = 'eth0'
export const POLICY = { family: 'inet', name: 'margay-policy' } as const

/** A node with interfaces for `pods` pods, `cali0` on, and an uplink, whose other ends are in `theirs` under the same names. */
export async function prepareNode(
  node: Kernel,
  other: Kernel,
  { theirs, pods }: { theirs: ScratchNetns; pods: number },
): Promise<void> {
  for (const scope of ['all', 'default']) other.writeSysctl('ipv6', ['conf', scope, 'disable_ipv6'], '1')
  for (const scope of ['all', 'default']) node.writeSysctl('ipv4', ['conf', scope, 'rp_filter'], '0')
  for (const family of ['ipv4', 'ipv6'] as const) node.writeSysctl(family, ['conf', 'all', 'forwarding'], '1')
  await node.setLink((await node.link('lo'))!.index, { up: true })
  for (const name of [UPLINK, ...Array.from({ length: pods }, (_, i) => `cali${i}`)]) {
    await node.createLink({ kind: 'veth', name, peer: { name, netns: theirs.path } })
    for (const kernel of [node, other]) await kernel.setLink((await kernel.link(name))!.index, { up: true })
  }
  const ifindex = (await node.link(UPLINK))!.index
  for (const [address, length] of [
    ['192.0.2.1', 32],
    ['2001:db8::1', 128],
  ] as const)
    await node.addAddress({ ifindex, address, length, scope: ROUTE_SCOPE.universe, noDad: true })
  for (const dst of ['0.0.0.0/0', '::/0']) await route(node, dst, UPLINK)
}

/** All packets to `dst` go out there. */
export async function route(node: Kernel, dst: string, interfaceName: string): Promise<void> {
  const value: Route = {
    ...{ dst, table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.boot },
    scope: dst.includes(':') ? ROUTE_SCOPE.universe : ROUTE_SCOPE.link,
    ifindex: (await node.link(interfaceName))!.index,
  }
  const [refused] = await node.changeRoutes([{ verb: 'replace', route: value }])
  if (refused !== undefined) throw refused
}

type Local = {
  /** Which pods are on this node. */
  isHere: (pod: Pod) => boolean
  interfaceOf: (pod: Pod) => string
  ownSets?: number | undefined
  /** Whose host endpoints it has. */
  node?: string
}

/** Brings the kernel to what the world asks of the node. Returns what was refused, and what the policies say. */
export async function enforce(
  node: Kernel,
  world: World,
  { isHere, interfaceOf, ownSets, node: name }: Local,
): Promise<{ refused: readonly unknown[]; verdicts: PolicyEnforcer['verdicts'] }> {
  const enforcer = new PolicyEnforcer(node, { table: POLICY.name, interfacePrefix: 'cali' }, ownSets)
  const objects = new PolicyObjects(({ kind, key, value }) => enforcer.set(kind, key, value as never))
  for (const object of world.objects) {
    const kind = kindOf(object)
    objects.change(kind, keyOf(object), resourceOf(kind, object))
  }
  enforcer.setHostRules(felixSettings(undefined).hosts!, { ipip: false, vxlan: false, vxlanPort: 4789 })
  for (const [key, { node: of, endpoint, interfaceName, profiles }] of objects.hosts)
    if (of === name)
      enforcer.setHost(key, { addresses: endpoint.addresses, profiles, ...(interfaceName && { interfaceName }) })
  for (const pod of ofKind(world, 'Pod').filter(isHere)) {
    const interfaceName = interfaceOf(pod)
    enforcer.setLocal(keyOf(pod), { interfaceName, profiles: podProfiles(resourceOf('Pod', pod)) })
    for (const { ip } of pod.status?.podIPs ?? [])
      await route(node, `${ip}/${ip.includes(':') ? 128 : 32}`, interfaceName)
  }
  const refused = [...(await enforcer.put()).refused, ...(await enforcer.remove()).refused]
  return { refused, verdicts: enforcer.verdicts }
}
