// The reader of legacy iptables, on octets that a kernel (6.18) gave, and on octets that make no sense.
import { inflateRawSync } from 'node:zlib'
import test from 'ava'
import fc from 'fast-check'
import { judge } from '../../felix/foreign-chains.ts'
import { parseLegacyHooks } from '../../kernel/linux/legacy-hooks.ts'
import { parseLegacyTable } from '../../kernel/linux/legacy-table.ts'

// of: -P FORWARD DROP; -A FORWARD -i cali+ -m conntrack --ctstate NEW -j ACCEPT; -A FORWARD ! -o eth0 -g end; -A end -j REJECT
const RECORDED = {
  ipv4: {
    info: 'S8vMKUktYsAJ+BgYGP7///8fxJ7BwMCgwQzhw8QmMCHEOBkYGALYGBgA',
    entries:
      'Y2CgDShgmMHAhEVcg4C+f////8cmnpyYk6mNR99/HPrQgQVjAiMLFvETDMn5eXklRYnJ2di0MTMMOsDIwMDAQbXwRQepJRkGDATCG9UgJiZYvLOQEe8FLLQNLXLdRWy6osRdHFTMJ9Rz1was4g4MrkFB/kG4001eyoDkBtzxG+Tq5eocgksfM8PgTHe/B2n84pdlYAAA',
  },
  ipv6: {
    info: 'S8vMKUktYsAJ+BgYGP7///8fxL7AwMDAwQLhw8QsmBFinAwMDB4cDAwA',
    entries:
      'Y2AYPGAFwwUGJhxyGgT0/vv//z813JCcmJOpjUf+Pwn2FDDOYGTBIXeCITk/L6+kKDE5G5s0M8OgA4wMDAwcAxYv6CC1JMOAgUA8oVnMwoSUzljITGcHWAdfzFDin/80ih9K/cMxwOUAdf3zAqecA4NrUJB/EO50npfCMFQA/nQY5Orl6hyCSy8Lw/DKV7+HWTrEL8vAAAA=',
  },
} as const
const TRAFFIC = { interfacePrefix: 'cali', devices: ['eth0'], pools: ['10.244.0.0/16'] }
const octets = (text: string): Buffer => inflateRawSync(Buffer.from(text, 'base64'))

for (const family of ['ipv4', 'ipv6'] as const) {
  const info = octets(RECORDED[family].info)
  const entries = octets(RECORDED[family].entries)

  test(`of a recorded table of ${family} the chains that do something are told, and of octets that are cut off what there is`, t => {
    const told = parseLegacyHooks({ family, table: 'filter', info, entries })
    const base = { type: 'filter', hook: 'forward', priority: 0, policy: 'drop' }
    t.deepEqual(told, [
      { kind: 'chain', family: family === 'ipv4' ? 'ip' : 'ip6', table: 'filter', name: 'FORWARD', base },
    ] as never)
    t.like(parseLegacyHooks({ family, table: 'mangle', info, entries: Buffer.alloc(0) }), [
      { base: { priority: -150, policy: 'accept' } },
    ] as never)
  })

  test(`the octets of a recorded table of ${family} become its chain, policy and rules`, t => {
    const found = parseLegacyTable({ family, table: 'filter', info, entries })!
    t.true(found.legacy)
    t.is(found.chain.base?.policy, 'drop')
    t.deepEqual(
      found.rules.map(({ chain, expressions }) => [chain, ...expressions]),
      [
        [
          'FORWARD',
          { type: 'meta', key: 'iifname', load: 1 },
          { type: 'cmp', op: 'eq', from: 1, value: '63616c69' },
          { type: 'ct', key: 'state', load: 1 },
          { type: 'bitwise', from: 1, load: 1, length: 4, mask: '08000000', xor: '00000000' },
          { type: 'cmp', op: 'neq', from: 1, value: '00000000' },
          { type: 'immediate', load: 0, data: { verdict: 'accept' } },
        ],
        [
          'FORWARD',
          { type: 'meta', key: 'oifname', load: 1 },
          { type: 'cmp', op: 'neq', from: 1, value: '65746830'.padEnd(32, '0') },
          { type: 'immediate', load: 0, data: { verdict: 'goto', chain: 'end' } },
        ],
        ['end', { type: 'opaque', name: 'reject' }],
        ['end', { type: 'immediate', load: 0, data: { verdict: 'return' } }],
      ],
    )
  })

  test(`octets of ${family} that are cut off or changed anywhere never make the reader throw`, t => {
    const change = fc.record({ at: fc.nat(entries.length - 1), value: fc.nat(255) })
    fc.assert(
      fc.property(fc.nat(entries.length), fc.array(change, { maxLength: 8 }), (length, changes) => {
        const changed = Buffer.from(entries)
        for (const { at, value } of changes) changed[at] = value
        parseLegacyTable({ family, table: 'filter', info, entries: changed.subarray(0, length) })
      }),
    )
    t.pass()
  })
}

/** A table of IPv4 with FORWARD, whose policy is to drop, and one chain of a user; each entry has its verdict, or a name. */
function aTable(forward: readonly (number | string)[], user: readonly (number | string)[]) {
  const policyAt = forward.length * ENTRY_LENGTH
  const all = [...forward, -1, 'ERROR', ...user, -5, 'ERROR']
  const entries = Buffer.alloc(all.length * ENTRY_LENGTH)
  for (const [i, of] of all.entries()) {
    const entry = entries.subarray(i * ENTRY_LENGTH, (i + 1) * ENTRY_LENGTH)
    entry.writeUInt16LE(112, 88)
    entry.writeUInt16LE(ENTRY_LENGTH, 90)
    if (typeof of === 'string') entry.write(of, 114, 'latin1')
    else entry.writeInt32LE(of, 144)
    if (typeof of === 'string') entry.write('chain', 144, 'latin1')
  }
  const info = Buffer.alloc(84)
  info.writeUInt32LE(1 << 2, 32)
  info.writeUInt32LE(policyAt, 64)
  return { table: { family: 'ipv4', table: 'filter', info, entries } as const, userAt: policyAt + 2 * ENTRY_LENGTH }
}
const ENTRY_LENGTH = 152
const RETURN = -5
const many = Array.from({ length: 50_000 }, () => RETURN)

test('of 50,000 rules where no forwarded packet comes none is read, and the verdict is sure', t => {
  const found = parseLegacyTable(aTable([], many).table)!
  t.deepEqual(found.rules, [])
  t.is(judge(found, TRAFFIC), 'drops')
})

test('of 50,000 rules that a forwarded packet may meet the first are read, and then nothing is sure', t => {
  const { userAt } = aTable([0], [])
  const inUserChain = parseLegacyTable(
    aTable(
      [userAt],
      many.map(() => -1),
    ).table,
  )!
  t.is(inUserChain.rules[0]?.chain, 'FORWARD')
  t.true(inUserChain.rules.length < 2100, `${inUserChain.rules.length} rules`)
  const passing = ENTRY_LENGTH
  const inForward = parseLegacyTable(
    aTable(
      many.map((_, i) => (i + 1) * passing),
      [],
    ).table,
  )!
  t.true(inForward.rules.length < 2100, `${inForward.rules.length} rules`)
  t.is(judge(inForward, TRAFFIC), 'may drop')
})
