// What every implementation of the nftables part of the kernel port promises.
import type { ExecutionContext, TestFn } from 'ava'
import { ERRNO } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type {
  NftChain,
  NftChange,
  NftElement,
  NftElements,
  NftExpression,
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
const add = (...objects: (NftTable | NftChain | NftSet | NftElements | NftRule)[]): NftChange[] =>
  objects.map(object => ({ verb: 'add', object }))

/** Registers the suite; `open` is called once per test. */
export function nftablesContract(test: TestFn, open: () => World): void {
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
    'a monitor hears which table others changed, and nothing of its own changes',
    async (t, node, otherProgram) => {
      const heard: unknown[] = []
      let hears = () => {}
      const monitor = node.monitorNftables(table => {
        heard.push(table)
        hears()
      })
      const foreign = { family: 'ip', name: 'foreign' } as const
      await node.changeNftables(add(TABLE, chain('a')))
      await node.changeNftables([{ verb: 'delete', object: chain('a') }])
      await otherProgram.changeNftables(add({ kind: 'table', ...foreign }))
      await otherProgram.changeNftables([{ verb: 'delete', object: TABLE }])
      while (heard.length < 2) await new Promise<void>(resolve => (hears = resolve))
      t.deepEqual(heard, [foreign, NAME])
      monitor.close()
    },
  )
}
