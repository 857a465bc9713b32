// The codec of nftables against the kernel and Debian's nft: what one writes, the other reads as the same.
import test from 'ava'
import { judge } from '../../felix/foreign-chains.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { commandText } from '../../kernel/netlink/nftables/command-text.ts'
import type { NftRuleset } from '../../kernel/port/nftables.ts'
import type { Program } from './nftables-policy-programs.ts'
import { anonymousSets, changesOf, comparable, load, nft, PROGRAMS } from './nftables-programs.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'

if (!isRoot)
  test('nftables is tested by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

for (const program of isRoot ? PROGRAMS : []) {
  const { title, family = 'inet' } = program
  const name = { family, name: 't' }
  if (program.needs === 'flowtables' && !hasFlowtables()) {
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

function hasFlowtables(): boolean {
  using netns = scratchNetns()
  try {
    nft(netns.path, ['-f', '-'], 'table inet t { flowtable f { hook ingress priority 0; devices = { lo }; }; }')
    return true
  } catch {
    // nft says that there is no such thing, as it should
    return false
  }
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
    t.deepEqual(await verdicts(['ct state vmap { established : accept, invalid : drop }']), ['may drop'])
    nft(theirs.path, ['-f', '-'], 'flush ruleset')
    t.deepEqual(await kernel.forwardChains(), [])
  })
