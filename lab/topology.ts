// The lab's network: namespaces, LANs and addresses, made through the kernel port. LANs are bridges inside the
// router's namespace; every veth pair is created inside its two namespaces, so nothing of it appears in
// the machine's own network. The router knows its LANs and no pod route.
import { addNetns, listNetns, netnsPath, removeNetns } from '../kernel/netns.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../kernel/port/routes.ts'
import { isLabNamespace, type NodePlan, namespacesOf, type Plan } from './plan.ts'

/** Makes every namespace, LAN, cable and address of the plan. What a failure leaves is for `removeNamespaces`. */
export async function buildTopology(host: Kernel, plan: Plan): Promise<void> {
  for (const name of namespacesOf(plan)) addNetns(name)
  using router = host.inside(netnsPath(plan.router.netns))
  router.writeSysctl('ipv4', ['ip_forward'], '1')
  await router.setLink('lo', { up: true })
  for (const lan of plan.lans) {
    await router.createLink({ kind: 'bridge', name: lan.bridge })
    await address(router, lan.bridge, lan.gateway, lan.length)
  }
  await Promise.all([
    ...plan.nodes.map(node => plugNode(host, router, node, plan.router.netns)),
    plugApi(host, router, plan),
    ...plan.nodes.flatMap(node => node.pods.map(pod => raiseLoopback(host, pod.netns))),
  ])
}

/** Makes the namespace of one node again, as after a reboot, and plugs it in. The old one must have ended. */
export async function replugNode(host: Kernel, plan: Plan, node: NodePlan): Promise<void> {
  removeNetns(node.netns)
  addNetns(node.netns)
  using router = host.inside(netnsPath(plan.router.netns))
  // the other end of the old cable goes with the old namespace, which the kernel takes away when it gets to it
  const old = await router.link(node.name)
  if (old !== undefined) await router.deleteLink(node.name)
  await plugNode(host, router, node, plan.router.netns)
}

async function plugNode(host: Kernel, router: Kernel, node: NodePlan, routerNetns: string): Promise<void> {
  using kernel = host.inside(netnsPath(node.netns))
  await kernel.setLink('lo', { up: true })
  await kernel.createLink({
    kind: 'veth',
    name: node.uplink,
    peer: { name: node.name, netns: netnsPath(routerNetns) },
  })
  const bridge = await router.link(node.lan.bridge)
  await router.setLink(node.name, { master: bridge!.index, up: true })
  await address(kernel, node.uplink, node.address, node.lan.length)
  await defaultRoute(kernel, node.uplink, node.lan.gateway)
  kernel.writeSysctl('ipv4', ['ip_forward'], '1')
}

async function plugApi(host: Kernel, router: Kernel, { api, router: { netns } }: Plan): Promise<void> {
  using kernel = host.inside(netnsPath(api.netns))
  await kernel.setLink('lo', { up: true })
  await kernel.createLink({ kind: 'veth', name: 'eth0', peer: { name: api.routerPort, netns: netnsPath(netns) } })
  await address(router, api.routerPort, api.gateway, api.length)
  await address(kernel, 'eth0', api.address, api.length)
  await defaultRoute(kernel, 'eth0', api.gateway)
}

async function raiseLoopback(host: Kernel, netns: string): Promise<void> {
  using kernel = host.inside(netnsPath(netns))
  await kernel.setLink('lo', { up: true })
}

/** Adds the address to a link and sets the link up. */
async function address(kernel: Kernel, name: string, text: string, length: number): Promise<void> {
  const link = await kernel.link(name)
  if (link === undefined) throw new Error(`${name} was made and is not there`)
  await kernel.addAddress({ ifindex: link.index, address: text, length, scope: ROUTE_SCOPE.universe })
  await kernel.setLink(link.index, { up: true })
}

async function defaultRoute(kernel: Kernel, name: string, gateway: string): Promise<void> {
  const link = await kernel.link(name)
  const route = {
    dst: '0.0.0.0/0',
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol: ROUTE_PROTOCOL.static,
    scope: ROUTE_SCOPE.universe,
    gateway,
    ifindex: link!.index,
  } as const
  const [refusal] = await kernel.changeRoutes([{ verb: 'add', route }])
  if (refusal !== undefined) throw refusal
}

/** The named namespaces on this machine that a lab with this prefix could have made. */
export function leftNamespaces(prefix: string): string[] {
  return listNetns().filter(name => isLabNamespace(prefix, name))
}

/** Removes namespaces, and with them every link in them. One that is gone is fine. */
export function removeNamespaces(names: readonly string[]): void {
  for (const name of names) removeNetns(name)
}
