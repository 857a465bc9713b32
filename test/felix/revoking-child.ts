// Felix in a process of its own that can be killed: told of pods and policies once, as JSON. Says `cut` for each time that connections
// were, and `synced` when the kernel has everything.
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { LABEL, type Policy, type PolicyRule } from '../../felix/policy/model.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

export type Told = {
  netns: string
  pods: readonly { name: string; addresses: readonly string[]; interfaceName: string; mac: string; netns: string }[]
  policies: readonly Policy[]
}

const { netns, pods, policies }: Told = JSON.parse(process.argv[2]!)
const kernel = openKernel().inside(netns)
const log = Object.assign(Object.create(silentLog) as typeof silentLog, {
  info: (_: unknown, text: string) => text.endsWith('cut') && process.send!('cut'),
})
const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
const felix = new Felix(kernel, { clock: systemClock, log, marks, onConditions: () => {} })
felix.configure({ node: { name: 'n1', ipv4: '192.0.2.1/24', uplink: 'eth0' } })
const allow: PolicyRule = { action: 'allow', source: {}, destination: {} }
felix.setPolicy('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
felix.setPolicy('profile', 'p', { ingress: [allow], egress: [allow] })
for (const { name, addresses, interfaceName, mac, netns } of pods) {
  const labels = { app: name, [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' }
  felix.set('endpoint', name, { id: name, interfaceName, ifname: 'eth0', netns, addresses, mac, mtu: 1500 })
  felix.setPolicy('endpoint', `default/${name}`, { kind: 'pod', labels, addresses, ports: [] })
  felix.setLocalEndpoint(`default/${name}`, { interfaceName, profiles: ['p'] })
}
for (const policy of policies) felix.setPolicy('policy', policy.ref.name, policy)
for (const source of ['datastore', 'endpoints', 'bgp', 'policy'] as const) felix.complete(source)
felix.start()
// there is no uplink, and what needs one is refused
await felix.applied().catch(() => undefined)
process.send!('synced')
