// The lab's network: namespaces, LANs and addresses of one family or of both, made through the kernel port. LANs are bridges inside the
// router's namespace; every veth pair is created inside its two namespaces, so nothing of it appears in
// the machine's own network. The router knows its LANs and no pod route.
import { addNetns, listNetns, netnsPath, removeNetns } from '../kernel/netns.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../kernel/port/routes.ts'
import { isLabNamespace, LENGTH6, type NodePlan, namespacesOf, type Plan } from './plan.ts'

/** Makes every namespace, LAN, cable and address of the plan. What a failure leaves is for `removeNamespaces`. */
export async function buildTopology(host: Kernel, plan: Plan): Promise<void> {
  for (const name of namespacesOf(plan)) addNetns(name)
  using router = host.inside(netnsPath(plan.router.netns))
  forward(router, plan)
  await router.setLink('lo', { up: true })
  for (const lan of plan.lans) {
    await router.createLink({ kind: 'bridge', name: lan.bridge })
    await addresses(router, lan.bridge, plan, lan.gateway, lan.length, lan.gateway6)
  }
  await Promise.all([
    ...plan.nodes.map(node => plugNode(host, router, plan, node)),
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
  await plugNode(host, router, plan, node)
}

async function plugNode(host: Kernel, router: Kernel, plan: Plan, node: NodePlan): Promise<void> {
  using kernel = host.inside(netnsPath(node.netns))
  await kernel.setLink('lo', { up: true })
  await kernel.createLink({
    kind: 'veth',
    name: node.uplink,
    peer: { name: node.name, netns: netnsPath(plan.router.netns) },
  })
  const bridge = await router.link(node.lan.bridge)
  await router.setLink(node.name, { master: bridge!.index, up: true })
  await addresses(kernel, node.uplink, plan, node.address, node.lan.length, node.address6)
  await defaultRoutes(kernel, node.uplink, plan, node.lan)
  forward(kernel, plan)
}

async function plugApi(host: Kernel, router: Kernel, plan: Plan): Promise<void> {
  const {
    api,
    router: { netns },
  } = plan
  using kernel = host.inside(netnsPath(api.netns))
  await kernel.setLink('lo', { up: true })
  await kernel.createLink({ kind: 'veth', name: 'eth0', peer: { name: api.routerPort, netns: netnsPath(netns) } })
  await addresses(router, api.routerPort, plan, api.gateway, api.length, api.gateway6)
  await addresses(kernel, 'eth0', plan, api.address, api.length, api.address6)
  await defaultRoutes(kernel, 'eth0', plan, api)
}

async function raiseLoopback(host: Kernel, netns: string): Promise<void> {
  using kernel = host.inside(netnsPath(netns))
  await kernel.setLink('lo', { up: true })
}

function forward(kernel: Kernel, { ipv6 }: Plan): void {
  kernel.writeSysctl('ipv4', ['ip_forward'], '1')
  if (ipv6) kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
}

/** Adds the addresses to a link, that of IPv6 where the plan has it, and sets the link up. */
async function addresses(
  kernel: Kernel,
  name: string,
  { ipv6 }: Plan,
  address: string,
  length: number,
  address6: string,
): Promise<void> {
  const link = await kernel.link(name)
  if (link === undefined) throw new Error(`${name} was made and is not there`)
  const own = { ifindex: link.index, scope: ROUTE_SCOPE.universe }
  await kernel.addAddress({ ...own, address, length })
  // nobody else is there to have it
  if (ipv6) await kernel.addAddress({ ...own, address: address6, length: LENGTH6, noDad: true })
  await kernel.setLink(link.index, { up: true })
}

async function defaultRoutes(
  kernel: Kernel,
  name: string,
  { ipv6 }: Plan,
  { gateway, gateway6 }: { gateway: string; gateway6: string },
): Promise<void> {
  await defaultRoute(kernel, name, '0.0.0.0/0', gateway)
  if (ipv6) await defaultRoute(kernel, name, '::/0', gateway6)
}

async function defaultRoute(kernel: Kernel, name: string, dst: string, gateway: string): Promise<void> {
  const link = await kernel.link(name)
  const route = {
    dst,
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
