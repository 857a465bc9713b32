// What the sets hold, told by differences, is what follows from all items and all sources at once.
import test from 'ava'
import fc from 'fast-check'
import { evaluate, parseSelector } from '../../../api/selector.ts'
import { Members } from '../../../felix/policy/members.ts'
import type { NetworkSet, PolicyEndpoint, PolicyInputs, ServiceEndpoints } from '../../../felix/policy/model.ts'
import { type MemberSource, protocolWord, sharedPrefix, sourceKey } from '../../../felix/policy/sources.ts'
import { dataType, formatWord } from '../../../kernel/netlink/nftables/datatypes.ts'
import { contains } from '../../../lib/ip.ts'
import { someLabels, someSelector } from './selectors.ts'

type State = {
  endpoint: Map<string, PolicyEndpoint>
  local: Map<string, boolean>
  networkSet: Map<string, NetworkSet>
  node: Map<string, PolicyInputs['node']>
  service: Map<string, ServiceEndpoints>
  source: Exclude<MemberSource, { of: 'domain' }>[]
}

const key = fc.constantFrom('ns/a', 'ns/b', 'other/a', 'other/b')
const address = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'fd00::2')
const addresses = fc.uniqueArray(address, { maxLength: 3 })
const net = fc.constantFrom('10.0.0.0/8', '10.0.0.0/16', '10.0.0.1/32', '10.0.0.2/31', 'fd00::/8', 'fd00::2/128')
const protocol = fc.constantFrom(6, 17)
const portName = fc.constantFrom('web', 'dns')
const port = fc.record({ name: portName, protocol, port: fc.constantFrom(53, 80) })
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined })

const endpoint: fc.Arbitrary<PolicyEndpoint> = fc.record({
  kind: fc.constantFrom('pod', 'host'),
  labels: someLabels,
  addresses,
  ports: fc.array(port, { maxLength: 2 }),
})
const source: fc.Arbitrary<Exclude<MemberSource, { of: 'domain' }>> = fc.oneof(
  fc.record({ of: fc.constant('selector'), selector: someSelector }),
  fc.record({ of: fc.constant('nodes'), selector: someSelector }),
  fc.record(
    {
      of: fc.constant('ports'),
      selector: someSelector,
      names: fc.uniqueArray(portName, { minLength: 1 }),
      protocol,
      local: fc.constant(true),
    },
    { requiredKeys: ['of', 'selector', 'names'] },
  ),
  fc.record({
    of: fc.constant('service'),
    namespace: fc.constant('ns'),
    name: fc.constantFrom('a', 'b'),
    with: fc.constantFrom('addresses', 'ports'),
  }),
  fc.record({ of: fc.constant('list'), ports: fc.constantFrom([80, 81], [80, 443]) }),
  fc.constantFrom<MemberSource & { of: 'cidrs' }>(
    { of: 'cidrs', family: 'ipv4', bits: 24, addresses: ['10.0.0.0', '10.0.2.0'] },
    { of: 'cidrs', family: 'ipv6', bits: 64, addresses: ['fd00::', 'fd00:0:0:2::'] },
  ),
)
const step = fc.oneof(
  fc.record({ kind: fc.constant('endpoint'), key, value: maybe(endpoint) }),
  fc.record({ kind: fc.constant('local'), key, value: fc.boolean() }),
  fc.record({
    kind: fc.constant('networkSet'),
    key,
    value: maybe(fc.record({ labels: someLabels, nets: fc.array(net, { maxLength: 3 }) })),
  }),
  fc.record({ kind: fc.constant('node'), key, value: maybe(fc.record({ labels: someLabels, addresses })) }),
  fc.record({
    kind: fc.constant('service'),
    key,
    value: maybe(
      fc.record({
        addresses: fc.array(fc.record({ address, protocol, port: fc.constantFrom(53, 80) }), { maxLength: 3 }),
      }),
    ),
  }),
  fc.record({ kind: fc.constant('want'), value: source }),
  fc.record({ kind: fc.constant('release'), which: fc.nat({ max: 9 }) }),
  fc.record({ kind: fc.constant('take') }),
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

const empty = (): State => ({
  endpoint: new Map(),
  local: new Map(),
  networkSet: new Map(),
  node: new Map(),
  service: new Map(),
  source: [],
})

function put<T>(map: Map<string, T>, at: string, value: T | undefined): void {
  if (value === undefined) map.delete(at)
  else map.set(at, value)
}

/** Tells one step to the members, and writes it down. */
function tell(members: Members, state: State, of: Step): void {
  switch (of.kind) {
    case 'endpoint':
      put(state.endpoint, of.key, of.value)
      members.setEndpoint(of.key, of.value)
      break
    case 'local':
      put(state.local, of.key, of.value)
      members.setLocal(of.key, of.value)
      break
    case 'networkSet':
      put(state.networkSet, of.key, of.value)
      members.setNetworkSet(of.key, of.value)
      break
    case 'node':
      put(state.node, of.key, of.value)
      members.setNode(of.key, of.value)
      break
    case 'service':
      put(state.service, of.key, of.value)
      members.setService(of.key, of.value)
      break
    case 'want':
      state.source.push(of.value)
      members.want(of.value)
      break
    case 'release': {
      const [released] = state.source.splice(of.which, 1)
      if (released !== undefined) members.release(released)
    }
  }
}

/** `set type: elements`, worked out from everything at once. */
function expected(state: State): string[] {
  const chosen = <T extends { labels: Record<string, string> }>(of: Map<string, T>, selector: string) =>
    [...of].filter(([, { labels }]) => evaluate(parseSelector(selector), labels))
  const endpointAddresses = [...state.endpoint.values()].flatMap(each => each.addresses)
  const out = new Set<string>()
  for (const each of state.source) {
    const found = (content: string, elements: readonly string[], isSeldom: boolean) => {
      for (const [family, isOf] of [
        ['ipv4', (text: string) => !text.includes(':')],
        ['ipv6', (text: string) => text.includes(':')],
      ] as const) {
        const own = [...new Set(elements.filter(isOf))].sort()
        if (isSeldom ? own.length > 0 : endpointAddresses.some(isOf))
          out.add(`${sourceKey(each)} ${content} ${family}: ${own.join(', ')}`)
      }
    }
    if (each.of === 'selector') {
      found(
        'addresses',
        chosen(state.endpoint, each.selector).flatMap(([, { addresses }]) => addresses),
        false,
      )
      const nets = [...new Set(chosen(state.networkSet, each.selector).flatMap(([, { nets }]) => nets))]
      const outer = nets.filter(one => !nets.some(other => other !== one && contains(other, one)))
      found(
        'nets',
        outer.map(text => text.replace(/^(\d.*)\/32$|^(.*:.*)\/128$/, '$1$2')),
        true,
      )
    } else if (each.of === 'nodes')
      found(
        'addresses',
        chosen(state.node, each.selector).flatMap(([, { addresses }]) => addresses),
        false,
      )
    else if (each.of === 'ports')
      found(
        'ports',
        chosen(state.endpoint, each.selector)
          .filter(([name]) => each.local !== true || state.local.get(name) === true)
          .flatMap(([, { addresses, ports }]) =>
            ports
              .filter(({ name, protocol }) => each.names.includes(name) && (each.protocol ?? protocol) === protocol)
              .flatMap(({ protocol, port }) =>
                addresses.map(at => `${at} . ${protocol === 6 ? 'tcp' : 'udp'} . ${port}`),
              ),
          ),
        false,
      )
    else if (each.of === 'list') out.add(`${sourceKey(each)} list ipv4: ${each.ports.map(String).sort().join(', ')}`)
    else if (each.of === 'cidrs')
      out.add(`${sourceKey(each)} addresses ${each.family}: ${[...each.addresses].sort().join(', ')}`)
    else
      found(
        each.with,
        (state.service.get(`${each.namespace}/${each.name}`)?.addresses ?? []).map(({ address, protocol, port }) =>
          each.with === 'ports' ? `${address} . ${protocol === 6 ? 'tcp' : 'udp'} . ${port}` : address,
        ),
        false,
      )
  }
  return [...out].sort()
}

/** Keeps what `take` told, and shows it as `expected` does. */
function kernel(members: Members) {
  const sets = new Map<string, Set<string>>()
  return {
    take() {
      const changes = members.take()
      for (const [name, set] of changes.sets)
        if (set === undefined ? !sets.delete(name) : sets.has(name)) throw new Error(`${name} came or went twice`)
        else if (set !== undefined) sets.set(name, new Set())
      for (const [name, { added, removed }] of changes.elements) {
        for (const element of removed) if (!sets.get(name)!.delete(element)) throw new Error(`${element} was not there`)
        for (const element of added)
          if (sets.get(name)!.has(element)) throw new Error(`${element} was there`)
          else sets.get(name)!.add(element)
      }
    },
    shown(sources: readonly MemberSource[]) {
      const out: string[] = []
      for (const each of new Map(sources.map(of => [sourceKey(of), of])).values())
        for (const [family, names] of Object.entries(members.setsOf(sourceKey(each))))
          for (const { set, digits } of names) {
            const content = set.startsWith('n')
              ? 'nets'
              : each.of === 'list'
                ? 'list'
                : each.of === 'ports' || (each.of === 'service' && each.with === 'ports')
                  ? 'ports'
                  : 'addresses'
            const before = digits === undefined ? '' : sharedPrefix(digits)
            const members = [...sets.get(set)!].filter(key => key.startsWith(before))
            const own = members.map(key => key.slice(before.length))
            out.push(`${sourceKey(each)} ${content} ${family}: ${own.sort().join(', ')}`)
          }
      return out.sort()
    },
    names: () => [...sets.keys()].sort(),
    sets,
  }
}

test('sets and elements told by differences are those that follow from everything at once, at every pause', t => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), fc.constantFrom(undefined, 0, 1, 2), (walk, ownSets) => {
      const members = new Members({ family: 'inet', table: 'margay' }, ownSets)
      const held = kernel(members)
      const state = empty()
      for (const each of [...walk, { kind: 'take' } as const]) {
        tell(members, state, each)
        // told again it is no news
        if (each.kind !== 'want' && each.kind !== 'release') tell(members, state, each)
        if (each.kind !== 'take') continue
        held.take()
        t.deepEqual(held.shown(state.source), expected(state))
      }
      for (const each of state.source) members.release(each)
      held.take()
      t.deepEqual(held.names(), [])
    }),
    { numRuns: 500 },
  )
})

test('a thousand lists of ports are some hundred sets, whether or not there are addresses of IPv4', t => {
  const members = new Members({ family: 'inet', table: 'margay' })
  const held = kernel(members)
  const lists = Array.from({ length: 1_000 }, (_, i): MemberSource => ({ of: 'list', ports: [i, i + 2] }))
  for (const each of lists) members.want(each)
  held.take()
  const sets = held.names().length
  t.true(sets > 200 && sets < 320, `${sets}`)
  t.is(held.shown(lists).length, 1_000)
  for (const each of lists) members.release(each)
  held.take()
  t.deepEqual(held.names(), [])
})

test('an address that two endpoints have for a moment stays until the last one left it', t => {
  const members = new Members({ family: 'inet', table: 'margay' })
  const pod = { kind: 'pod', labels: { app: 'a' }, addresses: ['10.0.0.1'], ports: [] } as const
  members.want({ of: 'selector', selector: 'app == "a"' })
  members.setEndpoint('ns/old', pod)
  members.take()
  members.setEndpoint('ns/new', pod)
  members.setEndpoint('ns/old', undefined)
  t.deepEqual([...members.take().elements], [])
  members.setEndpoint('ns/new', undefined)
  members.setEndpoint('ns/other', { ...pod, addresses: ['10.0.0.2'] })
  t.deepEqual([...members.take().elements.values()], [{ added: ['10.0.0.2'], removed: ['10.0.0.1'] }])
})

test('a set that one policy gives up and another takes up in the same step is left alone', t => {
  const members = new Members({ family: 'inet', table: 'margay' })
  members.setEndpoint('ns/a', { kind: 'pod', labels: { app: 'a' }, addresses: ['10.0.0.1'], ports: [] })
  members.want({ of: 'selector', selector: 'app == "a"' })
  members.take()
  members.release({ of: 'selector', selector: 'app == "a"' })
  members.want({ of: 'selector', selector: 'app == "a"' })
  const { sets, elements, sources } = members.take()
  t.deepEqual([sets.size, elements.size, sources.size], [0, 0, 0])
})

test('protocols are called what nft calls them', t => {
  for (let protocol = 1; protocol < 256; protocol++)
    t.is(protocolWord(protocol), formatWord(dataType('inet_proto'), Uint8Array.of(protocol)))
})

test('many sources share a set for each kind and family, some hundred have their own, and one more moves few others', t => {
  const members = new Members({ family: 'inet', table: 'margay' }, 100)
  const held = kernel(members)
  const source = (n: number): MemberSource => ({ of: 'selector', selector: `app == "${n}"` })
  for (let n = 0; n < 2000; n++)
    members.setEndpoint(`ns/${n}`, {
      kind: 'pod',
      labels: { app: `${n}` },
      addresses: [`10.0.${n >> 8}.${n & 255}`],
      ports: [],
    })
  for (let n = 0; n < 1000; n++) members.want(source(n))
  held.take()
  const own = held.names().length - 1
  t.true(own > 70 && own < 130, `${own} sets`)
  t.is(held.sets.get('shared4-addresses')!.size, 1000 - own)
  let moved = 0
  for (let n = 1000; n < 1200; n++) {
    members.want(source(n))
    moved += members.take().sources.size - 1
  }
  t.true(moved > 0 && moved < 60, `${moved} sources moved for 200 more`)
})
