// What pods ask of their packets, as rules, and what is told where the kernel refuses them.
import test from 'ava'
import type { LocalEndpoint, Qos } from '../../felix/policy/model.ts'
import { qosParts } from '../../felix/policy/qos.ts'
import { QosTable } from '../../felix/qos-table.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { commandText } from '../../kernel/netlink/nftables/command-text.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { NftablesPort, NftChange } from '../../kernel/port/nftables.ts'

const TABLE = { family: 'inet', table: 'q' } as const
const NO_POOLS = { ipv4: [], ipv6: [] }

function parts(...asked: [key: string, interfaceName: string, qos: Qos][]) {
  const pods = asked.map(([key, interfaceName, qos]): [string, LocalEndpoint] => [
    key,
    { interfaceName, profiles: [], qos },
  ])
  const { sets, chains, elements } = qosParts(TABLE, new Map(pods), NO_POOLS)
  return {
    sets: [...sets.keys()],
    chains: [...chains].map(([name, { rules }]) => [
      name,
      ...rules.map(object =>
        commandText({ verb: 'add', object }, () => undefined).replace(`add rule inet q ${name} `, ''),
      ),
    ]),
    elements: [...elements].map(([name, of]) => [name, ...of.keys()]),
  }
}

test('where no pod asks, nothing is there', t => {
  t.deepEqual(parts(), { sets: [], chains: [], elements: [] })
})

test('a pod that asks for limits has a chain for each direction, before policies and after what it needs to find its gateway', t => {
  const { sets, chains } = parts([
    'shop/web',
    'cali1',
    { egress: { rate: { perSecond: 100, burst: 20 }, connections: 3 }, ingress: { connections: 7 } },
  ])
  t.deepEqual(sets, ['limit_from', 'limit_to'])
  const neighbour = (type: string) => `icmpv6 type ${type} return`
  t.deepEqual(chains, [
    [
      'from-cali1',
      neighbour('nd-neighbor-solicit'),
      neighbour('nd-neighbor-advert'),
      'limit rate over 100/second burst 20 packets counter packets 0 bytes 0 drop comment "egress packet rate of shop/web"',
      'ct state new ct count over 3 goto too_many_connections comment "egress connections of shop/web"',
    ],
    ['limit_from_forward', 'iifname vmap @limit_from'],
    ['limit_from_input', 'iifname vmap @limit_from'],
    ['to-cali1', 'ct state new ct count over 7 goto too_many_connections comment "ingress connections of shop/web"'],
    ['limit_to_forward', 'oifname vmap @limit_to'],
    [
      'too_many_connections',
      'meta l4proto tcp counter packets 0 bytes 0 reject with tcp reset',
      'counter packets 0 bytes 0 drop',
    ],
  ])
})

test('pods with one DSCP share a chain, and of two that claim an interface the first by key has it', t => {
  const { chains, elements } = parts(
    ['a/a', 'cali1', { dscp: 46 }],
    ['a/c', 'cali2', { dscp: 0 }],
    ['a/b', 'cali2', { dscp: 46 }],
  )
  t.deepEqual(chains, [
    ['dscp-46', 'ip daddr != @pools4 ip dscp set ef', 'ip6 daddr != @pools6 ip6 dscp set ef'],
    ['dscp_from_forward', 'iifname vmap @dscp_from'],
  ])
  t.deepEqual(elements, [['dscp_from', 'cali1', 'cali2'], ['pools4'], ['pools6']])
})

test('a kernel that cannot count connections has the other limits, and the pods without theirs are named', async t => {
  const kernel = new FakeWorld().kernel()
  const changeNftables: NftablesPort['changeNftables'] = async changes => {
    const index = changes.findIndex(({ object }) => isConnectionLimit(object))
    if (index < 0) return kernel.changeNftables(changes)
    return [{ index, error: new KernelError(ERRNO.ENOENT, 'nft add rule', 'ct count over 7') }]
  }
  const nftGeneration = () => kernel.nftGeneration()
  const port = { nftables: kernel.nftables.bind(kernel), nftGeneration, changeNftables } as NftablesPort
  const qos = new QosTable(port, 'q')
  const local = (interfaceName: string, asked: Qos): LocalEndpoint => ({ interfaceName, profiles: [], qos: asked })
  qos.setLocal('shop/web', local('cali1', { ingress: { connections: 7 } }))
  qos.setLocal('shop/other', local('cali2', { ingress: { rate: { perSecond: 100, burst: 5 } } }))
  const { refused } = await qos.put()
  t.like(qos.conditions(refused), [
    {
      type: 'QosApplied',
      reason: 'Refused',
      object: { kind: 'NftChain', name: 'inet q to-cali1' },
      message: 'shop/web without what its annotations ask: nft add rule ct count over 7: ENOENT',
    },
  ])
  const { elements } = (await kernel.nftables({ family: 'inet', name: 'q' }))!
  t.deepEqual(
    elements.flatMap(each => each.elements.map(({ key }) => key)),
    [['cali2']],
  )
})

function isConnectionLimit(object: NftChange['object']): boolean {
  return (
    object.kind === 'rule' && 'expressions' in object && object.expressions.some(({ type }) => type === 'connlimit')
  )
}
