// Whole agents on three nodes that have IPv4 addresses alone, two on one LAN and one behind a router, with pods of IPv6 alone: who
// learns what over BGP, and that packets of full size pass between all of them, and from the nodes themselves to all of them.
import test from 'ava'
import { addNetns } from '../../kernel/netns.ts'
import { Lab } from '../../lab/lab.ts'
import { type PodPlan, planPod } from '../../lab/plan.ts'
import { runProgram, until } from '../../lab/program.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const runnable = process.geteuid?.() === 0
const POOL = { metadata: { name: 'six' }, spec: { cidr: 'fd00:10:244::/48', vxlanMode: 'CrossSubnet' } }
/** What an ICMPv6 echo request holds that fills 1,450 octets. */
const FULL_SIZE = 1402

test('IPv6 pods of nodes with IPv4 addresses alone reach each other through VXLAN, and their nodes all of them, within a LAN and over a router', async t => {
  if (!runnable) {
    t.log('skip: needs root, for network namespaces')
    return t.pass()
  }
  await sweepTestLabs()
  await using lab = new Lab({ ...testLabOptions({ patience: 3 }), podsPerNode: 0 })
  await lab.start()
  const pods = lab.plan.nodes.map(({ name }) => planPod(lab.plan.prefix, name, 1))
  await lab.putObjects([
    { kind: 'IPPool', object: POOL },
    ...pods.map(pod => ({ kind: 'Pod' as const, object: podObject(pod) })),
  ])
  const at = await Promise.all(pods.map(pod => addPod(lab, pod)))
  for (const { netns } of lab.plan.nodes)
    t.true(
      await until(async () => (await routesThroughVxlan(netns)).length === pods.length - 1, 60_000),
      `${await routesThroughVxlan(netns)}`,
    )
  // a host has no other IPv6 address, and a router no IPv6: it can be answered through the tunnel alone
  for (const { netns } of lab.plan.nodes)
    t.true(
      await until(async () => (await tunnelAddresses(netns)).length === 1, 60_000),
      `${await tunnelAddresses(netns)}`,
    )
  const hosts = lab.plan.nodes.map(({ name, netns }) => ({ pod: { name, netns }, address: '' }))
  for (const from of [...at, ...hosts])
    for (const to of at) {
      if (from === to) continue
      const size = ['-M', 'do', '-s', String(FULL_SIZE)]
      const { code, stdout } = await runProgram(
        ['ping', '-6', '-c', '2', '-i', '0.1', '-W', '20', ...size, to.address],
        {
          netns: from.pod.netns,
          limitMs: 60_000,
        },
      )
      t.is(code, 0, `${from.pod.name} to ${to.pod.name}: ${stdout}`)
    }
  const { stdout: neighbours } = await runProgram(
    ['ip', '-6', 'neigh', 'show', 'dev', 'vxlan.calico', 'nud', 'permanent'],
    {
      netns: lab.plan.nodes[0]!.netns,
    },
  )
  t.is(neighbours.trim().split('\n').length, pods.length - 1)
})

function podObject({ name, node }: PodPlan) {
  return {
    metadata: { name, namespace: 'default', annotations: { 'cni.projectcalico.org/ipFamilies': '["IPv6"]' } },
    spec: { nodeName: node, containers: [{ name: 'main', image: 'none' }] },
  }
}

/** Adds a pod, as often as a runtime does while its node does not know the pool yet. */
async function addPod(lab: Lab, pod: PodPlan): Promise<{ pod: PodPlan; address: string }> {
  addNetns(pod.netns)
  await until(
    () =>
      lab.addPod(pod.node, pod).then(
        () => true,
        () => false,
      ),
    60_000,
  )
  return { pod, address: lab.pods.find(each => each.pod.name === pod.name)!.address }
}

async function tunnelAddresses(netns: string): Promise<string[]> {
  const { stdout } = await runProgram(['ip', '-6', '-o', 'addr', 'show', 'dev', 'vxlan.calico', 'scope', 'global'], {
    netns,
  })
  return stdout.match(/fd00:10:244:\S+\/128/g) ?? []
}

async function routesThroughVxlan(netns: string): Promise<string[]> {
  const { stdout } = await runProgram(['ip', '-6', 'route', 'show', 'dev', 'vxlan.calico', 'proto', '80'], { netns })
  return stdout.split('\n').filter(line => line.startsWith('fd00:10:244:'))
}
