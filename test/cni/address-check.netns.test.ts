// That addresses which are given = pods = interfaces = routes, on this machine's kernel: each way in which they are not is
// found and named, and nothing else is.
import test, { type ExecutionContext } from 'ava'
import { addressesAnswer } from '../../agent/socket/address-answer.ts'
import { ANSWERS } from '../../api/answers.ts'
import { formatRef } from '../../api/status.ts'
import { type AddressFinding, checkAddresses } from '../../cni/address-check.ts'
import { addressOf, conf, resultOf, type TestNode, withNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

const both = conf({ ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })

/** A pod of both families, with felix at rest: it would restore everything at once. */
async function aPod(t: ExecutionContext, node: TestNode) {
  const netns = node.pod()
  const args = 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web'
  const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns, CNI_ARGS: args }, both))
  await node.felix.close()
  node.stopRepairs()
  return { netns, address: addressOf(result), name: result.interfaces[0]!.name }
}

type Pod = Awaited<ReturnType<typeof aPod>>

const lines = (findings: readonly AddressFinding[]) =>
  findings.map(({ object, fault }) => `${formatRef(object)} ${fault}`)

asRoot('a node whose pods work has no finding, nor has one with the address of a tunnel', t =>
  withNode(async node => {
    const tunnel = { handle: 'ipip-tunnel-addr-n1', families: ['ipv4'] as const, use: 'Tunnel' as const }
    await node.ipam.assign({ ...tunnel, attributes: { node: 'n1', type: 'ipipTunnelAddress' } })
    const { address } = await aPod(t, node)
    t.deepEqual(await checkAddresses(node.deps), { findings: [], looked: 1, unlooked: [] })
    const answer = ANSWERS['margay-node']['GET /ipam-check'].parse(await addressesAnswer(node.deps, node.ipam))
    t.deepEqual(
      answer.addresses.map(({ use, owner }) => [use, owner]),
      [
        ['tunnel', 'ipipTunnelAddress'],
        ['pod', 'shop/web'],
        ['pod', 'shop/web'],
      ],
    )
    t.true(answer.addresses.some(each => each.address === address))
    t.deepEqual(
      answer.blocks.map(({ sequence }) => /^\d+$/.test(sequence)),
      [true, true],
    )
    await forgetAll(node)
  }),
)

/** The test has broken it: at the end of each nothing is given to anybody. */
async function forgetAll({ ipam, deps }: TestNode): Promise<void> {
  for (const { id } of deps.endpoints.all()) deps.endpoints.delete(id)
  for (const handle of [...ipam.held().keys()]) await ipam.release(handle)
}

const faults: [title: string, damage: (node: TestNode, pod: Pod) => unknown, expected: RegExp[]][] = [
  [
    'an interface that is gone, with its routes',
    (node, { name }) => node.kernel.deleteLink(name),
    [/^Endpoint net\/c1\/eth0 pod shop\/web: link cali\w+ on the host is missing/, /: link eth0 in the pod is missing/],
  ],
  [
    'an interface that is down',
    (node, { netns }) => node.exec(netns, 'ip', 'link', 'set', 'eth0', 'down'),
    [/: link eth0 state in the pod is down/, /: route .* in the pod is missing/],
  ],
  [
    'a route to the pod that is gone',
    (node, { address }) => node.exec(node.netns, 'ip', 'route', 'del', address),
    [/^Endpoint .*: route [\d.]+\/32 dev cali\w+ on the host is missing/],
  ],
  [
    'a route of the pod that is gone',
    (node, { netns }) => node.exec(netns, 'ip', '-6', 'route', 'del', 'default'),
    [/: route ::\/0 dev eth0 in the pod is missing/],
  ],
  [
    'an address that the pod does not have',
    (node, { netns, address }) => node.exec(netns, 'ip', 'addr', 'del', `${address}/32`, 'dev', 'eth0'),
    [/: address [\d.]+\/32 dev eth0 in the pod is missing/],
  ],
  [
    'a namespace that is gone while its interface is there',
    (node, { netns }) => {
      const [row] = node.deps.endpoints.all()
      node.deps.endpoints.persist({ ...row!, netns: `${netns}-gone` })
      node.deps.endpoints.publish({ ...row!, netns: `${netns}-gone` })
    },
    [/: netns .*-gone in the pod is /],
  ],
  [
    'addresses of a pod that are not given to it',
    node => node.ipam.release(node.deps.endpoints.all()[0]!.handle),
    [/: has 10\.244\.0\.\d+, which is not given to it/, /: has fd00:244::\w*, which is not given to it/],
  ],
  [
    'an address that is given to a container that is not there',
    node =>
      node.ipam.assign({
        ...{ handle: 'net.gone.eth0', families: ['ipv4'], use: 'Workload' },
        attributes: { node: 'n1', pod: 'old', namespace: 'shop' },
      }),
    [/^Address 10\.244\.0\.\d+ is given to net\.gone\.eth0 \(pod shop\/old\), and no pod of this node has it/],
  ],
  [
    'an address that is given to a pod and that its interface does not have',
    (node, { address }) => {
      const [row] = node.deps.endpoints.all()
      const addresses = row!.addresses.filter(each => each !== address)
      node.deps.endpoints.persist({ ...row!, addresses })
      node.deps.endpoints.publish({ ...row!, addresses })
    },
    [
      /: 10\.244\.0\.\d+ is given to it, and it does not have it/,
      /^Route 10\.244\.0\.\d+\/32 leads to cali\w+, whose pod/,
    ],
  ],
  [
    'an address of two pods',
    node => {
      const [row] = node.deps.endpoints.all()
      const [mine] = row!.addresses
      const twin = { ...row!, id: 'net/c9/eth0', containerID: 'c9', pod: undefined, addresses: [mine!] }
      node.deps.endpoints.persist(twin)
      node.deps.endpoints.publish(twin)
    },
    [/is given to it, and it does not have it/, /^Address .* is that of several pods: pod shop\/web, container c9/],
  ],
  [
    'an interface of no pod',
    node => node.kernel.createLink({ kind: 'veth', name: 'cali0000stray', peer: { name: 'stray' } }),
    [/^Link cali0000stray belongs to no pod that this node knows/],
  ],
  [
    'a route to an interface whose pod does not have the address',
    (node, { name }) => node.exec(node.netns, 'ip', 'route', 'add', '10.244.0.200', 'dev', name),
    [/^Route 10\.244\.0\.200\/32 leads to cali\w+, whose pod does not have the address/],
  ],
]

for (const [title, damage, expected] of faults)
  asRoot(`ipam check finds ${title}, and only that`, t =>
    withNode(async node => {
      const pod = await aPod(t, node)
      await damage(node, pod)
      const { findings } = await checkAddresses(node.deps)
      const found = lines(findings)
      for (const pattern of expected)
        t.true(
          found.some(line => pattern.test(line)),
          `${pattern}: ${found.join('\n')}`,
        )
      t.true(findings.every(({ remedy }) => remedy !== ''))
      const kind = formatRef(findings[0]!.object).split(' ')[0]!
      const others = found.filter(line => !line.startsWith(kind) && !expected.some(pattern => pattern.test(line)))
      t.deepEqual(others, [])
      await forgetAll(node)
    }),
  )

asRoot('what is under way is no fault: pods that come and go meanwhile are never told', t =>
  withNode(async node => {
    const pods = Array.from({ length: 3 }, () => node.pod())
    let [rounds, working] = [0, true]
    const comeAndGo = async (netns: string, i: number): Promise<void> => {
      for (; rounds < 8; rounds++) {
        const env = { CNI_NETNS: netns, CNI_CONTAINERID: `c${i}` }
        t.is((await node.run('ADD', env, both)).code, 0)
        t.is((await node.run('DEL', env, both)).code, 0)
      }
    }
    const work = Promise.all(pods.map(comeAndGo)).finally(() => {
      working = false
    })
    let checks = 0
    for (; working; checks++) t.deepEqual(lines((await checkAddresses(node.deps)).findings), [])
    await work
    t.true(checks > 3)
  }),
)

asRoot('a pod whose ADD does not end is named as one that was not looked at, and the others are looked at', t =>
  withNode(async node => {
    await aPod(t, node)
    const clock = { ...node.deps.clock, after: (_ms: number, fire: () => void) => node.deps.clock.after(50, fire) }
    const deps = { ...node.deps, clock: { ...clock, monotonicMs: () => 0, wallMs: () => 0 } }
    const { promise, resolve } = Promise.withResolvers<void>()
    const adding = node.deps.limiter.run(
      () => ['shop/web'],
      () => promise,
    )
    const { findings, looked, unlooked } = await checkAddresses(deps)
    t.deepEqual({ findings, looked, unlooked }, { findings: [], looked: 0, unlooked: ['net/c1/eth0'] })
    resolve()
    await adding
  }),
)
