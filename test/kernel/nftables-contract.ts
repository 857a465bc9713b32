// What every implementation of the nftables part of the kernel port promises.
// Over 400 lines: one suite of promises, which the fake and the kernel are both held to.
import type { ExecutionContext, SerialFn } from 'ava'
import { ERRNO } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type {
  NftChain,
  NftChange,
  NftElement,
  NftElementName,
  NftElements,
  NftExpression,
  NftFlowtable,
  NftNews,
  NftObject,
  NftRule,
  NftSet,
  NftTable,
} from '../../kernel/port/nftables.ts'
import type { World } from './contract.ts'

const TABLE: NftTable = { kind: 'table', family: 'inet', name: 'margay' }
const NAME = { family: 'inet', name: 'margay' } as const

const chain = (name: string, rest: Partial<NftChain> = {}): NftChain => {
  return { kind: 'chain', family: 'inet', table: 'margay', name, ...rest }
}
const addresses = (name: string): NftSet => {
  return { kind: 'set', family: 'inet', table: 'margay', name, type: 'ipv4_addr' }
}
const dispatch: NftSet = { ...addresses('from_pod'), type: 'ifname', data: 'verdict' }
const elements = (of: NftSet, ...list: NftElement[]): NftElements => {
  const { family, table, name, type, data } = of
  return { kind: 'elements', family, table, set: name, type, ...(data !== undefined && { data }), elements: list }
}
const rule = (name: string, ...expressions: NftExpression[]): NftRule => {
  return { kind: 'rule', family: 'inet', table: 'margay', chain: name, expressions }
}
const object = (name: string, state: NftObject['state']): NftObject => {
  return { kind: 'object', family: 'inet', table: 'margay', name, state }
}
const verdict = (to: 'accept' | 'drop' | { goto: string }): NftExpression => {
  const data = typeof to === 'string' ? { verdict: to } : { verdict: 'goto' as const, chain: to.goto }
  return { type: 'immediate', load: 0, data }
}
/** `ip saddr @NAME`. */
const fromSet = (name: string): NftExpression[] => [
  { type: 'meta', key: 'nfproto', load: 1 },
  { type: 'cmp', op: 'eq', from: 1, value: '02' },
  { type: 'payload', base: 'network', offset: 12, length: 4, load: 1 },
  { type: 'lookup', set: name, from: 1 },
]
const add = (...objects: Extract<NftChange, { verb: 'add' }>['object'][]): NftChange[] =>
  objects.map(object => ({ verb: 'add', object }))

/** Registers the suite; `open` is called once per test. */
export function nftablesContract(test: SerialFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, node: Kernel, otherProgram: Kernel) => Promise<void>) =>
    test(`nftables: ${title}`, async t => {
      const world = open()
      try {
        await body(t, world.node, world.otherProgram)
      } finally {
        world.close()
      }
    })

  /** What was refused, as index and errno; the transaction as a whole is -1. */
  const refusals = async (node: Kernel, changes: readonly NftChange[], options?: { generation?: number }) =>
    (await node.changeNftables(changes, options)).map(({ index = -1, error }) => [index, error.errno])
  const rulesIn = async (node: Kernel, name: string) =>
    (await node.nftables(NAME))!.rules.filter(each => each.chain === name)
  const keysOf = async (node: Kernel, set: string) =>
    (await node.nftables(NAME))!.elements
      .filter(each => each.set === set)
      .flatMap(each => each.elements.map(({ key }) => key.join(' ')))
      .sort()

  promise('a table that is not there is undefined', async (t, node) => {
    t.is(await node.nftables(NAME), undefined)
  })

  promise('what was written is read back', async (t, node) => {
    const base = { type: 'filter', hook: 'forward', priority: -5, policy: 'drop' } as const
    const objects = [
      { ...TABLE, comment: 'ours' },
      chain('fp_a'),
      chain('forwarded', { base, comment: 'pods' }),
      { ...addresses('s4'), size: 100, comment: 'few' },
      dispatch,
      elements(addresses('s4'), { key: ['10.0.0.1'], comment: 'one' }),
      elements(dispatch, { key: ['cali1'], data: { verdict: 'goto', chain: 'fp_a' } }),
      { ...rule('fp_a', ...fromSet('s4'), verdict('accept')), comment: 'allowed' },
      rule('fp_a', verdict('drop')),
      rule(
        'forwarded',
        { type: 'meta', key: 'iifname', load: 1 },
        { type: 'lookup', set: 'from_pod', from: 1, load: 0 },
      ),
    ] as const
    t.deepEqual(await refusals(node, add(...objects)), [])
    const found = (await node.nftables(NAME))!
    const plain = <T extends { handle?: number }>({ handle: _, ...rest }: T) => rest
    t.deepEqual(plain(found.table), objects[0])
    t.deepEqual(found.chains.map(plain), [objects[1], objects[2]])
    t.deepEqual(found.sets.map(plain), [objects[3], objects[4]])
    t.deepEqual(found.elements, [objects[5], objects[6]])
    t.deepEqual(found.rules.map(plain), [objects[7], objects[8], objects[9]])
  })

  promise(
    'a change in the middle that is refused is named, and nothing of the transaction is done',
    async (t, node) => {
      await node.changeNftables(add(TABLE, chain('a'), addresses('s4')))
      const before = await node.nftables(NAME)
      const changes = add(
        elements(addresses('s4'), { key: ['10.0.0.1'] }),
        rule('a', verdict('accept')),
        rule('absent', verdict('drop')),
        chain('b'),
        rule('a', ...fromSet('absent'), verdict('drop')),
      )
      t.deepEqual(await refusals(node, changes), [
        [2, ERRNO.ENOENT],
        [4, ERRNO.ENOENT],
      ])
      t.deepEqual(await node.nftables(NAME), before)
    },
  )

  promise(
    'the base chains of all tables for IP are told, whoever has them and whatever their hook is',
    async (t, node, other) => {
      const at = (hook: 'forward' | 'postrouting', priority: number, type = 'filter') => ({
        base: { type, hook, priority },
      })
      const nat = { kind: 'table', family: 'ip', name: 'theirs' } as const
      const masquerade = {
        kind: 'chain',
        family: 'ip',
        table: 'theirs',
        name: 'out',
        ...at('postrouting', 100, 'nat'),
      } as const
      const bridge = { kind: 'table', family: 'bridge', name: 'frames' } as const
      t.deepEqual(await refusals(node, add(TABLE, chain('plain'), chain('forwarded', at('forward', -5)))), [])
      t.deepEqual(await refusals(other, add(nat, masquerade, bridge)), [])
      const told = (await node.baseChains()).map(({ family, table, name, base }) => [
        family,
        table,
        name,
        base?.hook,
        base?.priority,
      ])
      t.deepEqual(told.sort(), [
        ['inet', 'margay', 'forwarded', 'forward', -5],
        ['ip', 'theirs', 'out', 'postrouting', 100],
      ])
    },
  )

  promise('no changes are done without a word', async (t, node) => {
    t.deepEqual(await refusals(node, []), [])
  })

  promise('adding twice succeeds, creating twice is refused', async (t, node) => {
    const objects = [TABLE, chain('a'), addresses('s4'), elements(addresses('s4'), { key: ['10.0.0.1'] })] as const
    t.deepEqual(await refusals(node, add(...objects)), [])
    t.deepEqual(await refusals(node, add(...objects)), [])
    for (const object of objects) t.deepEqual(await refusals(node, [{ verb: 'create', object }]), [[0, ERRNO.EEXIST]])
  })

  promise('an element with other data is refused', async (t, node) => {
    const drop = elements(dispatch, { key: ['cali1'], data: { verdict: 'drop' } })
    const accept = elements(dispatch, { key: ['cali1'], data: { verdict: 'accept' } })
    await node.changeNftables(add(TABLE, dispatch, drop))
    t.deepEqual(await refusals(node, add(accept)), [[0, ERRNO.EEXIST]])
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: drop }, ...add(accept)]), [])
  })

  promise('rules are added last or first, beside others, replaced and deleted', async (t, node) => {
    const marked = (comment: string, rest: Partial<NftRule> = {}): NftRule => {
      return { ...rule('a', verdict('accept')), comment, ...rest }
    }
    const comments = async () => (await rulesIn(node, 'a')).map(({ comment }) => comment)
    const handleOf = async (comment: string) =>
      (await rulesIn(node, 'a')).find(each => each.comment === comment)!.handle!
    await node.changeNftables([
      ...add(TABLE, chain('a'), marked('2')),
      { verb: 'add', object: marked('3') },
      { verb: 'insert', object: marked('1') },
    ])
    t.deepEqual(await comments(), ['1', '2', '3'])
    const second = await handleOf('2')
    await node.changeNftables([
      { verb: 'add', object: marked('2.1', { position: second }) },
      { verb: 'insert', object: marked('1.1', { position: second }) },
    ])
    t.deepEqual(await comments(), ['1', '1.1', '2', '2.1', '3'])
    await node.changeNftables([{ verb: 'replace', object: { ...marked('two'), handle: second } }])
    t.deepEqual(await comments(), ['1', '1.1', 'two', '2.1', '3'])
    const { kind, family, table, chain: name } = marked('1')
    const first = { kind, family, table, chain: name, handle: await handleOf('1') }
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: first }]), [])
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: first }]), [[0, ERRNO.ENOENT]])
    t.deepEqual(await comments(), ['1.1', 'two', '2.1', '3'])
  })

  promise('chains and sets are flushed, and rewritten in the same transaction', async (t, node) => {
    const one = elements(addresses('s4'), { key: ['10.0.0.1'] }, { key: ['10.0.0.2'] })
    await node.changeNftables(add(TABLE, chain('a'), addresses('s4'), one, rule('a', verdict('drop'))))
    const changes: NftChange[] = [
      { verb: 'flush', object: chain('a') },
      ...add(rule('a', verdict('accept'))),
      { verb: 'flush', object: addresses('s4') },
      ...add(elements(addresses('s4'), { key: ['10.0.0.3'] })),
    ]
    t.deepEqual(await refusals(node, changes), [])
    t.deepEqual(await keysOf(node, 's4'), ['10.0.0.3'])
    t.deepEqual(
      (await rulesIn(node, 'a')).map(({ expressions }) => expressions),
      [[verdict('accept')]],
    )
  })

  promise('elements are deleted one by one; an absent one is refused', async (t, node) => {
    const all = elements(addresses('s4'), { key: ['10.0.0.1'] }, { key: ['10.0.0.2'] })
    await node.changeNftables(add(TABLE, addresses('s4'), all))
    const one = elements(addresses('s4'), { key: ['10.0.0.1'] })
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: one }]), [])
    t.deepEqual(await keysOf(node, 's4'), ['10.0.0.2'])
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: one }]), [[0, ERRNO.ENOENT]])
  })

  promise('what is still referred to is not deleted', async (t, node) => {
    await node.changeNftables(
      add(
        TABLE,
        chain('a'),
        chain('b'),
        chain('c'),
        addresses('s4'),
        dispatch,
        elements(dispatch, { key: ['cali1'], data: { verdict: 'goto', chain: 'c' } }),
        rule('a', ...fromSet('s4'), verdict({ goto: 'b' })),
      ),
    )
    for (const object of [chain('b'), chain('c'), addresses('s4')])
      t.deepEqual(await refusals(node, [{ verb: 'delete', object }]), [[0, ERRNO.EBUSY]])
    for (const object of [chain('a'), chain('b'), addresses('s4'), dispatch, chain('c'), TABLE])
      t.deepEqual(await refusals(node, [{ verb: 'delete', object }]), [])
    t.is(await node.nftables(NAME), undefined)
  })

  promise('what is absent is refused, whatever is asked of it', async (t, node) => {
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: TABLE }]), [[0, ERRNO.ENOENT]])
    t.deepEqual(await refusals(node, add(chain('a'))), [[0, ERRNO.ENOENT]])
    await node.changeNftables(add(TABLE, chain('a'), dispatch))
    for (const change of [
      { verb: 'delete', object: chain('absent') },
      { verb: 'delete', object: addresses('absent') },
      { verb: 'flush', object: chain('absent') },
      { verb: 'flush', object: addresses('absent') },
      { verb: 'add', object: elements(addresses('absent'), { key: ['10.0.0.1'] }) },
      { verb: 'add', object: elements(dispatch, { key: ['cali1'], data: { verdict: 'goto', chain: 'absent' } }) },
      { verb: 'add', object: rule('a', verdict({ goto: 'absent' })) },
    ] as const satisfies NftChange[])
      t.deepEqual(await refusals(node, [change]), [[0, ERRNO.ENOENT]])
  })

  promise('a chain that is added again takes the new policy and keeps its rules', async (t, node) => {
    const base = { type: 'filter', hook: 'input', priority: 0 } as const
    await node.changeNftables(add(TABLE, chain('in', { base }), rule('in', verdict('accept'))))
    t.is((await node.nftables(NAME))!.chains[0]!.base!.policy, 'accept')
    t.deepEqual(await refusals(node, add(chain('in', { base: { ...base, policy: 'drop' } }))), [])
    const found = (await node.nftables(NAME))!
    t.is(found.chains[0]!.base!.policy, 'drop')
    t.is(found.rules.length, 1)
  })

  promise('an object with a name keeps its count while rules that use it come and go', async (t, node) => {
    const hits = object('hits', { type: 'counter', packets: 7n, bytes: 700n })
    const uses: NftExpression = { type: 'objref', of: 'counter', name: 'hits' }
    const changes = add(TABLE, chain('a'), { ...hits, comment: 'of a policy' }, rule('a', uses, verdict('drop')))
    t.deepEqual(await refusals(node, changes), [])
    t.deepEqual(await refusals(node, [{ verb: 'flush', object: chain('a') }, ...add(hits, rule('a', uses))]), [])
    const found = (await node.nftables(NAME))!
    t.deepEqual(
      found.objects.map(({ handle: _, ...rest }) => rest),
      [{ ...hits, comment: 'of a policy' }],
    )
    t.deepEqual(await refusals(node, [{ verb: 'create', object: hits }]), [[0, ERRNO.EEXIST]])
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: hits }]), [[0, ERRNO.EBUSY]])
    t.deepEqual(
      await refusals(node, [
        { verb: 'flush', object: chain('a') },
        { verb: 'delete', object: hits },
      ]),
      [],
    )
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: hits }]), [[0, ERRNO.ENOENT]])
    t.deepEqual(await refusals(node, add(rule('a', uses))), [[0, ERRNO.ENOENT]])
  })

  promise('the counters of rules are read by table and by chain, with the comments of the rules', async (t, node) => {
    const counted = (packets: bigint, bytes: bigint): NftExpression => ({ type: 'counter', packets, bytes })
    t.deepEqual(await node.ruleCounters(NAME), [])
    await node.changeNftables(
      add(
        TABLE,
        chain('a'),
        chain('b'),
        { ...rule('a', counted(1n, 10n), verdict('drop')), comment: 'first' },
        rule('a', verdict('accept')),
        rule('a', { type: 'meta', key: 'mark', load: 1 }, counted(2n, 20n), counted(3n, 30n)),
        rule('b', counted(2n ** 40n, 2n ** 60n)),
        rule('b', { type: 'counter' }),
      ),
    )
    const bare = (of: { chain?: string } = {}) =>
      node.ruleCounters({ ...NAME, ...of }).then(list => list.map(({ handle: _, ...rest }) => rest))
    const inA = [
      { chain: 'a', comment: 'first', packets: 1n, bytes: 10n },
      { chain: 'a', packets: 5n, bytes: 50n },
    ]
    const inB = [
      { chain: 'b', packets: 2n ** 40n, bytes: 2n ** 60n },
      { chain: 'b', packets: 0n, bytes: 0n },
    ]
    t.deepEqual(await bare({ chain: 'a' }), inA)
    t.deepEqual(await bare({ chain: 'b' }), inB)
    t.deepEqual(await bare({ chain: 'absent' }), [])
    t.deepEqual(await bare(), [...inA, ...inB])
    const handles = (await node.nftables(NAME))!.rules.filter(each => each.chain === 'b').map(({ handle }) => handle)
    t.deepEqual(
      (await node.ruleCounters({ ...NAME, chain: 'b' })).map(({ handle }) => handle),
      handles,
    )
  })

  promise('sets without a name are named by their id in the transaction, and go with their rule', async (t, node) => {
    const ports = (id: number): NftSet => {
      return { ...addresses('__set%d'), type: 'inet_service', flags: ['anonymous', 'constant', 'interval'], id }
    }
    const filled = (id: number, ...words: string[]): NftElements => {
      const { flags, type } = ports(id)
      const of = { kind: 'elements', family: 'inet', table: 'margay', set: '__set%d', setId: id } as const
      return { ...of, type, flags, elements: words.map(word => ({ key: [word] })) }
    }
    const looksUp = (id: number): NftExpression[] => [
      { type: 'payload', base: 'transport', offset: 2, length: 2, load: 1 },
      { type: 'lookup', set: '__set%d', from: 1, setId: id },
    ]
    const changes = add(
      TABLE,
      chain('a'),
      ports(1),
      filled(1, '80', '443-450'),
      ports(2),
      filled(2, '53'),
      rule('a', ...looksUp(2), verdict('accept')),
      rule('a', ...looksUp(1), verdict('drop')),
    )
    t.deepEqual(await refusals(node, changes), [])
    const { rules, elements: all } = (await node.nftables(NAME))!
    const lookedUp = rules.map(({ expressions }) =>
      expressions.flatMap(step => (step.type === 'lookup' ? step.set : [])),
    )
    t.is(new Set(lookedUp.flat()).size, 2)
    t.deepEqual(
      lookedUp.flat().map(name =>
        all
          .find(({ set }) => set === name)!
          .elements.map(({ key }) => key.join(' '))
          .sort(),
      ),
      [['53'], ['443-450', '80']],
    )
    t.deepEqual(await refusals(node, [{ verb: 'flush', object: chain('a') }]), [])
    t.deepEqual((await node.nftables(NAME))!.sets, [])
    // one that no rule looks up is a mistake
    t.deepEqual(
      (await refusals(node, add(ports(3), filled(3, '1')))).map(([, errno]) => errno),
      [ERRNO.EINVAL],
    )
  })

  promise('packets make elements in sets that have room for them', async (t, node) => {
    const seen: NftSet = { ...addresses('seen'), size: 100, flags: ['timeout', 'dynamic'], timeoutMs: 60_000 }
    const step: NftExpression = {
      type: 'dynset',
      op: 'update',
      set: 'seen',
      from: 1,
      timeoutMs: 5000,
      expressions: [{ type: 'limit', unit: 'packets', rate: 10, per: 'second', burst: 5, over: true }],
    }
    const [load, compare, field] = fromSet('seen') as [NftExpression, NftExpression, NftExpression]
    const update = rule('a', load, compare, field, step)
    t.deepEqual(await refusals(node, add(TABLE, chain('a'), update)), [[2, ERRNO.ENOENT]])
    t.deepEqual(await refusals(node, add(TABLE, chain('a'), seen, update)), [])
    t.deepEqual(
      (await rulesIn(node, 'a')).map(({ expressions }) => expressions),
      [update.expressions],
    )
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: seen }]), [[0, ERRNO.EBUSY]])
  })

  promise('a flowtable takes devices one after the other', async (t, node) => {
    const flows: NftFlowtable = {
      kind: 'flowtable',
      family: 'inet',
      table: 'margay',
      name: 'flows',
      priority: 0,
      devices: ['lo'],
    }
    const base = { type: 'filter', hook: 'forward', priority: 0 } as const
    const offload = rule('forward', { type: 'flow_offload', flowtable: 'flows' })
    const refused = await refusals(node, add(TABLE, chain('forward', { base }), flows))
    if (refused.length > 0) {
      t.log('this kernel has no flowtables')
      t.deepEqual(refused, [[2, ERRNO.ENOENT]])
      return
    }
    t.deepEqual(await refusals(node, add(flows, offload)), [])
    t.deepEqual(
      (await node.nftables(NAME))!.flowtables.map(({ handle: _, ...rest }) => rest),
      [flows],
    )
    t.deepEqual(await refusals(node, [{ verb: 'create', object: flows }]), [[0, ERRNO.EEXIST]])
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: flows }]), [[0, ERRNO.EBUSY]])
    const { kind: _, name: flowtable, ...of } = flows
    t.deepEqual(await refusals(node, [{ verb: 'delete', object: { ...of, kind: 'devices', flowtable } }]), [])
    t.deepEqual((await node.nftables(NAME))!.flowtables[0]!.devices, [])
    t.deepEqual(
      await refusals(node, [
        { verb: 'flush', object: chain('forward') },
        { verb: 'delete', object: flows },
      ]),
      [],
    )
    t.deepEqual((await node.nftables(NAME))!.flowtables, [])
  })

  promise('a transaction for another generation is refused as a whole', async (t, node) => {
    await node.changeNftables(add(TABLE))
    const { generation } = (await node.nftables(NAME))!
    await node.changeNftables(add(chain('a')))
    t.deepEqual(await refusals(node, add(chain('b')), { generation }), [[-1, ERRNO.ERESTART]])
    const now = (await node.nftables(NAME))!
    t.not(now.generation, generation)
    t.deepEqual(
      now.chains.map(({ name }) => name),
      ['a'],
    )
    t.deepEqual(await refusals(node, add(chain('b')), { generation: now.generation }), [])
  })

  promise(
    'a monitor hears of each transaction what others changed, and of its own the generation',
    async (t, node, otherProgram) => {
      const heard: (NftNews | undefined)[] = []
      let hears = () => {}
      const monitor = node.monitorNftables(news => {
        heard.push(news)
        hears()
      })
      const foreign = { family: 'ip', name: 'foreign' } as const
      const since = await node.nftGeneration()
      await node.changeNftables(add(TABLE, chain('a'), chain('b'), addresses('s4'), addresses('s5')))
      await otherProgram.changeNftables(add({ kind: 'table', ...foreign }))
      await otherProgram.changeNftables(
        add(rule('a', verdict('drop')), rule('a', verdict('accept')), elements(addresses('s4'), { key: ['10.0.0.1'] })),
      )
      await node.changeNftables([{ verb: 'delete', object: chain('b') }])
      await otherProgram.changeNftables([
        { verb: 'flush', object: chain('a') },
        { verb: 'delete', object: addresses('s5') },
      ])
      await otherProgram.changeNftables([{ verb: 'delete', object: TABLE }])
      while (heard.length < 6) await new Promise<void>(resolve => (hears = resolve))
      const single = heard[2]?.tables[0]?.parts?.elements ?? []
      t.deepEqual(
        single.map(({ set }) => set),
        ['s4'],
      )
      const parts = (elements: readonly NftElementName[], ...sets: string[]) => {
        return { ...NAME, parts: { chains: ['a'], sets, elements } }
      }
      const tables = [[], [foreign], [parts(single)], [], [parts([], 's5')], [{ ...NAME, isGone: true }]]
      t.deepEqual(
        heard,
        tables.map((tables, i) => ({ generation: since + 1 + i, tables })),
      )
      t.is(await node.nftGeneration(), since + 6)
      monitor.close()
    },
  )

  promise('of a table some chains and sets are read alone, with the sets of their rules', async (t, node) => {
    t.is(await node.nftables(NAME, { only: { chains: ['a'], sets: ['s4'], elements: [] } }), undefined)
    const ports = { ...addresses('__set%d'), type: 'inet_service', flags: ['anonymous', 'constant'], id: 1 } as const
    const own = { ...elements(ports, { key: ['80'] }, { key: ['443'] }), setId: 1, flags: ports.flags }
    const destinationPort = { type: 'payload', base: 'transport', offset: 2, length: 2, load: 1 } as const
    await node.changeNftables(add(TABLE, chain('a'), chain('b'), addresses('s4'), addresses('s5')))
    await node.changeNftables([
      ...add(ports, own),
      ...add(rule('a', destinationPort, { type: 'lookup', set: '__set%d', setId: 1, from: 1 }, verdict('accept'))),
      ...add(rule('b', ...fromSet('s4'), verdict('accept')), rule('b', verdict('drop'))),
      ...add(elements(addresses('s4'), { key: ['10.0.0.1'] }), elements(addresses('s5'), { key: ['10.0.0.2'] })),
    ])
    const found = async (chains: string[], sets: string[]) => {
      const { elements, ...only } = (await node.nftables(NAME, { only: { chains, sets, elements: [] } }))!
      return [
        only.chains.map(({ name }) => name),
        only.rules.map(({ chain }) => chain),
        only.sets.map(({ name, flags = [] }) => (flags.includes('anonymous') ? 'its own' : name)),
        elements.map(each => each.elements.map(({ key }) => key.join()).sort()),
      ]
    }
    t.deepEqual(await found(['a'], []), [['a'], ['a'], ['its own'], [['443', '80']]])
    t.deepEqual(await found(['b', 'gone'], ['s5', 'gone']), [['b'], ['b', 'b'], ['s5'], [['10.0.0.2']]])
    t.deepEqual(await found([], []), [[], [], [], []])
  })

  promise(
    'elements that others changed are read alone, and told as missing where they are not there',
    async (t, node, otherProgram) => {
      const ranges = { ...addresses('nets'), flags: ['interval'] } as const
      const [one, two, three] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(key => ({ key: [key] }))
      const goto: NftElement = { key: ['cali1'], data: { verdict: 'goto', chain: 'a' } }
      await node.changeNftables(add(TABLE, chain('a'), addresses('s4'), ranges, dispatch))
      await node.changeNftables(add(elements(addresses('s4'), one!, two!), elements(dispatch, goto)))
      const told = new Promise<NftNews | undefined>(resolve => node.monitorNftables(resolve))
      await otherProgram.changeNftables([
        { verb: 'delete', object: elements(addresses('s4'), one!) },
        ...add(elements(addresses('s4'), three!)),
        ...add({ ...elements(ranges, { key: ['10.1.0.0/16'] }), flags: ranges.flags }),
        { verb: 'delete', object: elements(dispatch, goto) },
        ...add(elements(dispatch, { ...goto, data: { verdict: 'drop' } })),
      ])
      const { parts } = (await told)!.tables[0]!
      const found = (await node.nftables(NAME, { only: { chains: [], sets: [], elements: parts!.elements } }))!
      const shown = (some: readonly NftElements[] = []) =>
        some.flatMap(({ set, elements }) => elements.map(({ key, data }) => [set, key.join(), data]))
      const named = parts!.sets.length === 0
      t.deepEqual(shown(found.missing), [['s4', '10.0.0.1', undefined]])
      t.deepEqual(shown(found.elements).sort(), [
        ['from_pod', 'cali1', { verdict: 'drop' }],
        ...(named ? [['nets', '10.1.0.0/16', undefined]] : []),
        ['s4', '10.0.0.3', undefined],
      ])
      t.deepEqual(
        found.sets.map(({ name }) => name),
        named ? ['nets'] : [],
        'ranges have no names of their own',
      )
    },
  )
}
