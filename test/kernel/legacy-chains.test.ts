// The reader of legacy iptables, on octets that a kernel (6.18) gave, and on octets that make no sense.
import { inflateRawSync } from 'node:zlib'
import test from 'ava'
import fc from 'fast-check'
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
const octets = (text: string): Buffer => inflateRawSync(Buffer.from(text, 'base64'))

for (const family of ['ipv4', 'ipv6'] as const) {
  const info = octets(RECORDED[family].info)
  const entries = octets(RECORDED[family].entries)

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
