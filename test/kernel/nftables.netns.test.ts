// The codec of nftables against the kernel and Debian's nft: what one writes, the other reads as the same.
import test from 'ava'
import { judge } from '../../felix/foreign-chains.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { commandText } from '../../kernel/netlink/nftables/command-text.ts'
import type { NftChange, NftElement, NftExpression, NftRuleset, NftSet } from '../../kernel/port/nftables.ts'
import type { Program } from './nftables-policy-programs.ts'
import { anonymousSets, changesOf, comparable, load, nft, PROGRAMS } from './nftables-programs.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'

const TYPES = { type: 'ipv4_addr', flags: ['interval'] } as const

if (!isRoot)
  test('nftables is tested by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const hasFlowtables = isRoot && (await askFlowtables())

for (const program of isRoot ? PROGRAMS : []) {
  const { title, family = 'inet' } = program
  const name = { family, name: 't' }
  if (program.needs === 'flowtables' && !hasFlowtables) {
    test(`${title}: not here`, t => {
      t.log('skipped: this kernel has no flowtables')
      t.pass()
    })
    continue
  }

  test(`${title}: what nft wrote, Margay writes the same into another kernel`, async t => {
    using theirs = scratchNetns()
    using ours = scratchNetns()
    const wanted = await read(theirs.path, program)
    using host = openKernel()
    using kernel = host.inside(ours.path)
    t.deepEqual(await kernel.changeNftables(changesOf(wanted)), [])
    t.deepEqual(comparable((await kernel.nftables(name))!), comparable(wanted))
    t.is(listed(ours.path, family), listed(theirs.path, family))
  })

  if (program.foreign) continue

  test(`${title}: rules are printed as nft prints them`, async t => {
    using theirs = scratchNetns()
    const ruleset = await read(theirs.path, program)
    t.deepEqual(rulesOf(ruleset), listedRules(listed(theirs.path, family)))
  })

  test(`${title}: nft makes the same of the commands that Margay prints`, async t => {
    using theirs = scratchNetns()
    using again = scratchNetns()
    const ruleset = await read(theirs.path, program)
    nft(again.path, ['-f', '-'], commandsOf(ruleset).join('\n'))
    using host = openKernel()
    using kernel = host.inside(again.path)
    t.deepEqual(comparable((await kernel.nftables(name))!), comparable(ruleset))
  })
}

async function askFlowtables(): Promise<boolean> {
  using netns = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(netns.path)
  const flows = { kind: 'flowtable', family: 'inet', table: 't', name: 'f', priority: 0, devices: ['lo'] } as const
  const changes: NftChange[] = [
    { verb: 'add', object: { kind: 'table', family: 'inet', name: 't' } },
    { verb: 'add', object: flows },
  ]
  return (await kernel.changeNftables(changes)).length === 0
}

async function read(path: string, program: Program): Promise<NftRuleset> {
  using host = openKernel()
  using kernel = host.inside(path)
  return await load(kernel, path, program)
}

function listed(path: string, family: string): string {
  // times that run are not the same twice
  return nft(path, ['list', 'table', family, 't']).replaceAll(/expires [0-9dhms]+/g, 'expires soon')
}

/** The lines of chains that are rules. */
function listedRules(text: string): string[] {
  const chains = [...text.matchAll(/^\tchain \S+ \{\n(.*?)^\t\}/gms)].map(([, body]) => body!)
  return chains.flatMap(body => body.split('\n').map(line => line.trim())).filter(isRule)
}

function isRule(line: string): boolean {
  return line !== '' && !/^(type \w+ hook|comment) /.test(line)
}

function rulesOf(ruleset: NftRuleset): string[] {
  const { chains, rules } = ruleset
  const sets = anonymousSets(ruleset)
  return chains.flatMap(({ name, family }) =>
    rules
      .filter(({ chain }) => chain === name)
      .map(({ handle: _, ...object }) => commandText({ verb: 'add', object }, sets))
      .map(command => command.slice(`add rule ${family} t ${name} `.length)),
  )
}

function commandsOf(ruleset: NftRuleset): string[] {
  const { table, chains, sets, elements, rules } = ruleset
  const isNamed = ({ flags = [] }: { flags?: readonly string[] }) => !flags.includes('anonymous')
  const bare = rules.map(({ handle: _, ...rule }) => rule)
  const objects = [
    table,
    ...chains,
    ...ruleset.objects,
    ...ruleset.flowtables,
    ...sets.filter(isNamed),
    ...elements.filter(isNamed),
    ...bare,
  ]
  return objects.map(object => commandText({ verb: 'add', object }, anonymousSets(ruleset)))
}

if (isRoot)
  test('what chains of other programs do with pods is read from what nft wrote', async t => {
    using theirs = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(theirs.path)
    const traffic = { interfacePrefix: 'cali', devices: ['eth0'], pools: ['10.244.0.0/16'] }
    const verdicts = async (lines: readonly string[]) => {
      const body = ['type filter hook forward priority 0; policy drop;', ...lines, ''].join('\n')
      nft(theirs.path, ['-f', '-'], `flush ruleset\ntable ip filter {\nchain other { }\nchain FORWARD { ${body} }\n}\n`)
      return (await kernel.forwardChains()).map(found => judge(found, traffic))
    }
    const pods = ['iifname "cali*" accept', 'oifname "cali*" accept']
    t.deepEqual(await verdicts([]), ['drops'])
    t.deepEqual(await verdicts(['jump other', 'oifname "docker0" ct state established,related accept']), ['drops'])
    t.deepEqual(await verdicts(['ct state established,related accept']), ['drops'])
    t.deepEqual(await verdicts(pods), ['passes'])
    t.deepEqual(await verdicts(['ip saddr 10.244.0.0/16 accept']), ['passes'])
    t.deepEqual(await verdicts(['ip saddr 10.244.0.0/15 ip daddr 10.244.0.0/17 accept']), ['may drop'])
    t.deepEqual(await verdicts(['tcp dport 80 accept']), ['may drop'])
    t.deepEqual(await verdicts(['tcp dport 80-90 accept']), ['may drop'])
    t.deepEqual(await verdicts(['meta length > 100 accept']), ['may drop'])
    t.deepEqual(await verdicts(['limit rate 5/second accept']), ['may drop'])
    t.deepEqual(await verdicts(['ct count 5 accept']), ['may drop'])
    t.deepEqual(await verdicts(['log prefix "all "', 'meta mark set 1', ...pods]), ['passes'])
    t.deepEqual(await verdicts(['iifname "cali*" reject', ...pods]), ['drops'])
    t.deepEqual(await verdicts(['ct state vmap { established : accept, invalid : drop }']), ['may drop'])
    nft(theirs.path, ['-f', '-'], 'flush ruleset')
    t.deepEqual(await kernel.forwardChains(), [])
  })

if (isRoot)
  test('a refusal names the element, the expression or the name that the kernel objects to', async t => {
    using netns = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(netns.path)
    const of = { family: 'inet', table: 't' } as const
    const pods: NftSet = { kind: 'set', ...of, name: 'pods', type: 'ifname', data: 'verdict' }
    const ranges: NftSet = { kind: 'set', ...of, name: 'ranges', type: 'ipv4_addr', flags: ['interval'] }
    const objects: Extract<NftChange, { verb: 'add' }>['object'][] = [
      { kind: 'table', family: 'inet', name: 't' },
      { kind: 'chain', ...of, name: 'c' },
      pods,
      ranges,
    ]
    t.deepEqual(await kernel.changeNftables(objects.map(object => ({ verb: 'add', object }))), [])
    const many = Array.from({ length: 5000 }, (_, i): NftElement => {
      return { key: [`cali${i}`], data: { verdict: 'goto', chain: i === 4000 ? 'absent' : 'c' } }
    })
    const steps: NftExpression[] = [
      { type: 'meta', key: 'iifname', load: 1 },
      { type: 'lookup', set: 'absent', from: 1, load: 0 },
    ]
    const twoRanges = ['10.0.0.0/8', '10.1.0.0/16', '11.0.0.0/8'].map(word => ({ key: [word] }))
    const refused = await kernel.changeNftables([
      {
        verb: 'add',
        object: { kind: 'elements', ...of, set: 'pods', type: 'ifname', data: 'verdict', elements: many },
      },
      { verb: 'add', object: { kind: 'rule', ...of, chain: 'c', expressions: steps } },
      { verb: 'add', object: { kind: 'rule', ...of, chain: 'gone', expressions: [] } },
      { verb: 'create', object: { kind: 'elements', ...of, set: 'ranges', ...TYPES, elements: twoRanges } },
    ])
    t.deepEqual(
      refused.map(({ index, element, step, error }) => ({ index, element, step, message: error.message })),
      [
        {
          index: 0,
          element: 4000,
          step: undefined,
          message: 'nft add element inet t pods { "cali4000" : goto absent }: ENOENT',
        },
        {
          index: 1,
          element: undefined,
          step: 1,
          message: 'nft add rule inet t c iifname vmap @absent: ENOENT (expression 2 (lookup))',
        },
        { index: 2, element: undefined, step: undefined, message: 'nft add rule inet t gone : ENOENT (chain)' },
        {
          index: 3,
          element: 1,
          step: undefined,
          message: 'nft create element inet t ranges { 10.1.0.0/16 }: EEXIST',
        },
      ],
    )
  })
