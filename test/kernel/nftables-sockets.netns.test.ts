// Transactions and dumps of nftables over real sockets: their size, lost answers, and changes while a table is read.
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { DumpWalks } from '../../kernel/linux/dump-walk.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { LinuxNftables } from '../../kernel/linux/nftables.ts'
import { NETLINK } from '../../kernel/netlink/numbers.ts'
import { Requests } from '../../kernel/netlink/requests.ts'
import { runInNetns } from '../../kernel/netns.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { NftChange, NftElements, NftNews, NftRule, NftSet, NftTable } from '../../kernel/port/nftables.ts'
import { nft } from './nftables-programs.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('transactions of nftables are tested by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const NAME = { family: 'inet', name: 'margay' } as const
const table: NftTable = { kind: 'table', ...NAME }
const addresses: NftSet = { kind: 'set', family: 'inet', table: 'margay', name: 's4', type: 'ipv4_addr' }
const elements = (keys: readonly string[]): NftElements => {
  const list = keys.map(key => ({ key: [key] }))
  return { kind: 'elements', family: 'inet', table: 'margay', set: 's4', type: 'ipv4_addr', elements: list }
}
const dropIn = (chain: string, comment?: string): NftRule => {
  const expressions = [{ type: 'immediate', load: 0, data: { verdict: 'drop' } }] as const
  return {
    kind: 'rule',
    family: 'inet',
    table: 'margay',
    chain,
    expressions,
    ...(comment !== undefined && { comment }),
  }
}
const counted = (i: number): NftRule => ({
  ...dropIn('c', `rule ${i} of some policy`),
  expressions: [{ type: 'counter' }],
})
const chain = (name: string) => ({ kind: 'chain', family: 'inet', table: 'margay', name }) as const
const add = (object: NftTable | NftSet | NftElements | NftRule | ReturnType<typeof chain>): NftChange => {
  return { verb: 'add', object }
}

netns('a transaction of some megabytes is one datagram, and is done as a whole', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  const keys = Array.from({ length: 60_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
  const rules = Array.from({ length: 2000 }, (_, i) => add(dropIn('c', `${i}`)))
  const changes = [add(table), add(chain('c')), add(addresses), add(elements(keys)), ...rules]
  t.deepEqual(await kernel.changeNftables(changes), [])
  const found = (await kernel.nftables(NAME))!
  t.is(found.elements[0]!.elements.length, keys.length)
  t.deepEqual(
    found.rules.map(({ comment }) => comment),
    rules.map((_, i) => `${i}`),
  )
})

netns(
  'however much one transaction of ours changes, a monitor loses nothing and hears its generation alone',
  async t => {
    using scratch = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(scratch.path)
    const heard: (NftNews | undefined)[] = []
    let hears = () => {}
    kernel.monitorNftables(news => {
      heard.push(news)
      hears()
    })
    const keys = Array.from({ length: 200_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    t.deepEqual(await kernel.changeNftables([add(table), add(addresses), add(elements(keys))]), [])
    nft(scratch.path, ['add', 'chain', 'inet', 'margay', 'c'])
    while (heard.length < 2) await new Promise<void>(resolve => (hears = resolve))
    const generation = await kernel.nftGeneration()
    t.like(heard, [
      { generation: generation - 1, tables: [], by: undefined },
      { generation, tables: [NAME], by: { name: 'nft' } },
    ])
  },
)

netns('of 500 elements that others add each is told, and of more their set', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  t.deepEqual(await kernel.changeNftables([add(table), add(addresses)]), [])
  let hears: (news?: NftNews) => void = () => {}
  kernel.monitorNftables(news => hears(news))
  for (const [third, count, sets, single] of [
    [0, 500, [], 500],
    [9, 501, ['s4'], 0],
  ] as const) {
    const told = new Promise<NftNews | undefined>(resolve => (hears = resolve))
    const keys = Array.from({ length: count }, (_, i) => `10.0.${third + (i >> 8)}.${i & 255}`)
    nft(scratch.path, ['add', 'element', 'inet', 'margay', 's4', `{ ${keys.join(', ')} }`])
    const parts = (await told)?.tables[0]?.parts
    t.deepEqual([parts?.sets, parts?.elements.length], [sets, single])
  }
})

netns('a transaction of others of which the kernel tells nothing but the end may have changed anything', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  t.deepEqual(await kernel.changeNftables([add(table), add(chain('c'))]), [])
  let hears: (news?: NftNews) => void = () => {}
  kernel.monitorNftables(news => hears(news))
  const told = new Promise<NftNews | undefined>(resolve => (hears = resolve))
  // larger than the kernel's room for what it tells of one object
  const steps = Array.from({ length: 60 }, (_, i) => `log prefix "${'x'.repeat(110)}${i}"`)
  nft(scratch.path, ['-f', '-'], `add rule inet margay c ${steps.join(' ')}`)
  t.is(await told, undefined)
})

netns('one refused change among thousands is named, and says what it was', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  const rules = Array.from({ length: 5000 }, (_, i) => add(dropIn(i === 2500 ? 'absent' : 'c')))
  const refusals = await kernel.changeNftables([add(table), add(chain('c')), ...rules])
  t.is(refusals.length, 1)
  t.is(refusals[0]!.index, 2502)
  t.is(refusals[0]!.error.errno, ERRNO.ENOENT)
  t.is(refusals[0]!.error.message, 'nft add rule inet margay absent drop: ENOENT (chain)')
  t.is(await kernel.nftables(NAME), undefined)
})

netns('more refusals than the socket has room for are still a refusal, and the next transaction works', async t => {
  using scratch = scratchNetns()
  const requests = runInNetns(scratch.path, () => new Requests({ family: NETLINK.netfilter, receiveBuffer: 16_384 }))
  const port = new LinuxNftables(requests, new DumpWalks(act => act()))
  const refusals = await port.changeNftables([add(table), ...Array.from({ length: 2000 }, () => add(dropIn('absent')))])
  t.true(refusals.length > 0)
  t.true(refusals.length < 2000)
  t.deepEqual([...new Set(refusals.map(({ error }) => error.errno))], [ERRNO.ENOENT])
  t.is(await port.nftables(NAME), undefined)
  t.deepEqual(await port.changeNftables([add(table)]), [])
  requests.close()
})

netns('a table that changes while it is read is told as it was at one moment', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using reader = host.inside(scratch.path)
  using writer = host.inside(scratch.path)
  await writer.changeNftables([add(table), add(chain('c')), add(addresses)])
  const write = (key: string) =>
    writer.changeNftables([
      { verb: 'flush', object: chain('c') },
      { verb: 'flush', object: addresses },
      add(elements([key])),
      add(dropIn('c', key)),
    ])
  await write('10.0.0.0')
  for (let i = 1; i <= 40; i++) {
    const reading = reader.nftables(NAME)
    // the change comes at another point of the read each time
    for (let turn = 0; turn < i % 10; turn++) await new Promise(resolve => setImmediate(resolve))
    await write(`10.0.0.${i}`)
    const found = (await reading)!
    t.is(found.rules[0]!.comment, found.elements[0]!.elements[0]!.key[0])
  }
})

netns('reads and transactions at the same time each get their own answers', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  await kernel.changeNftables([add(table), add(chain('c')), add(addresses)])
  const [found, refused, done, absent] = await Promise.all([
    kernel.nftables(NAME),
    kernel.changeNftables([add(dropIn('absent'))]),
    kernel.changeNftables([add(elements(['10.0.0.1']))]),
    kernel.nftables({ family: 'ip', name: 'margay' }),
  ])
  t.is(found?.table.name, 'margay')
  t.deepEqual(
    refused.map(({ index }) => index),
    [0],
  )
  t.deepEqual(done, [])
  t.is(absent, undefined)
})

netns('the counters of 20,000 rules are read in more than fifty turns, so nobody waits for all of them', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  t.deepEqual(await kernel.changeNftables([add(table), add(chain('c'))]), [])
  for (let from = 0; from < 20_000; from += 2000) {
    const some = Array.from({ length: 2000 }, (_, i) => add(counted(from + i)))
    t.deepEqual(await kernel.changeNftables(some), [])
  }
  let [turns, longest, done] = [0, 0, false]
  const watch = (async () => {
    for (let at = performance.now(); !done; turns++) {
      await turn()
      longest = Math.max(longest, performance.now() - at)
      at = performance.now()
    }
  })()
  const started = performance.now()
  const counters = await kernel.ruleCounters(NAME)
  const took = performance.now() - started
  done = true
  await watch
  t.is(counters.length, 20_000)
  t.true(turns > 50, `others had ${turns} turns`)
  t.log(`${took.toFixed()} ms in ${turns} turns, the longest ${longest.toFixed(1)} ms`)
  t.deepEqual(await kernel.ruleCounters({ ...NAME, name: 'nobody' }), [])
})

for (const what of ['a table', 'one chain'])
  netns(`of the counters of ${what} none is left out where a rule goes while they are read`, async t => {
    using scratch = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(scratch.path)
    const rules = Array.from({ length: 4000 }, (_, i) => add(counted(i)))
    t.deepEqual(await kernel.changeNftables([add(table), add(chain('c')), ...rules]), [])
    const [first] = await kernel.ruleCounters({ ...NAME, chain: 'c' })
    const reading = kernel.ruleCounters(what === 'a table' ? NAME : { ...NAME, chain: 'c' })
    // the kernel tells of some of them at once, and of the others in the next turns
    for (let i = 0; i < 5; i++) await undefined
    nft(scratch.path, ['delete', 'rule', 'inet', 'margay', 'c', 'handle', `${first!.handle}`])
    const told = new Set((await reading).map(({ comment }) => comment))
    t.deepEqual(
      rules.map((_, i) => counted(i).comment).filter(comment => !told.has(comment)),
      [first!.comment],
    )
  })

netns('a table of another owner beside ours is not read', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  nft(scratch.path, ['-f', '-'], 'table inet other { set s4 { type ipv4_addr; }; chain c { drop; }; }\n')
  await kernel.changeNftables([add(table), add(chain('c'))])
  const found = (await kernel.nftables(NAME))!
  t.deepEqual(
    [...found.chains, ...found.sets, ...found.rules].map(object => object.table),
    ['margay'],
  )
})

netns('of the table of a chain that forwards only the rules are told to which jumps lead from there', async t => {
  using scratch = scratchNetns()
  const many = Array.from({ length: 100 }, (_, i) => `ip saddr 10.0.0.${i} accept`).join('\n')
  const text = `table inet other {
      chain services { ${many}
      }
      chain last { counter drop; }
      chain next { goto last; }
      chain f { type filter hook forward priority 0; ip daddr 10.0.0.1 jump next; ip saddr 10.0.0.1 goto next; }
    }
    table ip other { chain next { accept; }; }`
  nft(scratch.path, ['-f', '-'], text)
  const requests = runInNetns(scratch.path, () => new Requests({ family: NETLINK.netfilter, mostObjects: 5 }))
  const [found, ...others] = await new LinuxNftables(requests, new DumpWalks(act => act())).forwardChains()
  t.deepEqual(others, [])
  t.is(found?.chain.name, 'f')
  t.deepEqual(
    found?.rules.map(({ chain }) => chain),
    ['f', 'f', 'next', 'last'],
  )
  requests.close()
})

netns('of tables of others the kernel tells nothing but their chains, however much is in them', async t => {
  using scratch = scratchNetns()
  const many = (line: (i: number) => string) => Array.from({ length: 100 }, (_, i) => line(i)).join('\n')
  const text = `table inet other {
      ${many(i => `counter n${i} { }`)}
      ${many(i => `set s${i} { type ipv4_addr; elements = { 10.0.0.${i} }; }`)}
      chain c { ${many(i => `ip saddr @s${i} counter name n${i}`)}
      }
    }
    table inet ours {
      counter n { }
      set s { type ipv4_addr; elements = { 10.0.0.1 }; }
      chain c { ip saddr @s counter name n; }
    }`
  nft(scratch.path, ['-f', '-'], text)
  // the limit counts what the kernel tells, whatever is made of it
  const requests = runInNetns(scratch.path, () => new Requests({ family: NETLINK.netfilter, mostObjects: 5 }))
  const kernel = new LinuxNftables(requests, new DumpWalks(act => act()))
  const of = { family: 'inet', name: 'ours' } as const
  const { chains, sets, elements, objects, rules } = (await kernel.nftables(of))!
  t.deepEqual(
    [chains, sets, elements, objects, rules].map(each => each.length),
    [1, 1, 1, 1, 1],
  )
  t.deepEqual(await kernel.ruleCounters(of), [])
  await t.throwsAsync(kernel.nftables({ family: 'inet', name: 'other' }), { instanceOf: KernelError })
  requests.close()
})
