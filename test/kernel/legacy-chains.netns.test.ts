// Chains of iptables-legacy in a real kernel that has them, as its own program writes them, and the reader of their octets.
import { execFileSync } from 'node:child_process'
import test from 'ava'
import { type ChainVerdict, judge } from '../../felix/foreign-chains.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { NftVerdict } from '../../kernel/port/nftables.ts'
import type { LegacyDrop } from '../../kernel/port/trace.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'

const TRAFFIC = { interfacePrefix: 'cali', devices: ['eth0'], pools: ['10.244.0.0/16', 'fd00:10::/64'] }
const PROGRAMS = { ip: 'iptables-legacy', ip6: 'ip6tables-legacy' } as const

/** Whether this machine has the programs, and its kernel the tables. */
function isThere(): boolean {
  if (!isRoot) return false
  using netns = scratchNetns()
  try {
    for (const program of Object.values(PROGRAMS)) run(netns.path, program, ['-S', 'FORWARD'])
    return true
  } catch {
    return false
  }
}

function run(path: string, program: string, args: readonly string[]): void {
  execFileSync(systemProgram('nsenter'), [`--net=${path}`, '--', systemProgram(program), ...args], { stdio: 'pipe' })
}

const onLegacyKernel = isThere() ? test : test.skip
const pods = ['-A FORWARD -i cali+ -j ACCEPT', '-A FORWARD -o cali+ -j ACCEPT']

for (const [family, subnet] of [
  ['ip', '10.244.0.0/16'],
  ['ip6', 'fd00:10::/64'],
] as const) {
  const rows: readonly (readonly [title: string, rules: readonly string[], ChainVerdict])[] = [
    ['nothing but a policy that accepts', ['-P FORWARD ACCEPT'], 'passes'],
    ['the policy drop alone', ['-P FORWARD DROP'], 'drops'],
    ['a drop at the end', ['-A FORWARD -i docker0 -j ACCEPT', '-A FORWARD -j DROP'], 'drops'],
    ['a reject at the end', ['-A FORWARD -j REJECT'], 'drops'],
    ['a reject behind rules for pods', [...pods, '-A FORWARD -j REJECT'], 'passes'],
    ['the policy drop and rules for pods', ['-P FORWARD DROP', ...pods], 'passes'],
    [
      'the policy drop and a rule for every interface but one',
      ['-P FORWARD DROP', '-A FORWARD ! -i docker0 -j ACCEPT'],
      'passes',
    ],
    ['the policy drop and the addresses of pods', ['-P FORWARD DROP', `-A FORWARD -s ${subnet} -j ACCEPT`], 'passes'],
    [
      'the policy drop, and established connections pass',
      ['-P FORWARD DROP', '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'],
      'drops',
    ],
    ['the policy drop, and a port passes', ['-P FORWARD DROP', '-A FORWARD -p tcp --dport 80 -j ACCEPT'], 'may drop'],
    [
      'a chain of its own that accepts',
      [
        '-P FORWARD DROP',
        '-N pods',
        '-A FORWARD -m comment --comment any -j pods',
        '-A pods -j LOG',
        '-A pods -j ACCEPT',
      ],
      'passes',
    ],
    [
      'a chain of its own that returns',
      ['-P FORWARD DROP', '-N none', '-A FORWARD -j none', '-A none -i eth9 -j ACCEPT'],
      'drops',
    ],
    ['a chain that is gone to', ['-N end', '-A FORWARD -g end', '-A end -j DROP'], 'drops'],
    ['drops of other chains', ['-P INPUT DROP', '-A INPUT -j DROP', '-P OUTPUT DROP', '-A OUTPUT -j DROP'], 'passes'],
  ]
  onLegacyKernel(
    `what chains of ${PROGRAMS[family]} do with pods is read from the kernel, without a program`,
    async t => {
      using host = openKernel()
      using theirs = scratchNetns()
      using kernel = host.inside(theirs.path)
      t.deepEqual(await kernel.legacyForwardChains(), [], 'a table that is not there is not made')
      for (const [title, rules, verdict] of rows) {
        const reset = ['-P INPUT ACCEPT', '-P FORWARD ACCEPT', '-P OUTPUT ACCEPT', '-F', '-X']
        for (const words of [...reset, ...rules]) run(theirs.path, PROGRAMS[family], words.split(' '))
        const found = await kernel.legacyForwardChains()
        const of = found.filter(({ chain }) => chain.family === family)
        t.deepEqual(
          of.map(({ chain }) => `${chain.table} ${chain.name}`),
          ['filter FORWARD'],
          title,
        )
        t.is(judge(of[0]!, TRAFFIC), verdict, `${title}: ${JSON.stringify(of[0]?.rules)}`)
      }
      run(theirs.path, PROGRAMS[family], ['-t', 'mangle', '-A', 'FORWARD', '-j', 'DROP'])
      const [mangle] = (await kernel.legacyForwardChains()).filter(({ chain }) => chain.table === 'mangle')
      t.is(judge(mangle!, TRAFFIC), 'drops')
      t.deepEqual(
        mangle?.rules.map(({ expressions }) => expressions),
        [[{ type: 'immediate', load: 0, data: { verdict: 'drop' } satisfies NftVerdict }]],
      )
    },
  )
}

onLegacyKernel(
  'of all their tables the chains that do something are told by name, and of one that was only listed none',
  async t => {
    using host = openKernel()
    using theirs = scratchNetns()
    using kernel = host.inside(theirs.path)
    t.deepEqual(await kernel.legacyBaseChains(), [])
    for (const table of ['filter', 'mangle']) run(theirs.path, PROGRAMS.ip, ['-t', table, '-S'])
    t.deepEqual(await kernel.legacyBaseChains(), [])
    run(theirs.path, PROGRAMS.ip, ['-t', 'nat', '-A', 'POSTROUTING', '-j', 'MASQUERADE'])
    run(theirs.path, PROGRAMS.ip, ['-A', 'INPUT', '-i', 'eth9', '-j', 'DROP'])
    run(theirs.path, PROGRAMS.ip6, ['-P', 'FORWARD', 'DROP'])
    const told = (await kernel.legacyBaseChains()).map(({ family, table, base }) => [
      family,
      table,
      base?.hook,
      base?.policy,
    ])
    t.deepEqual(told.sort(), [
      ['ip', 'filter', 'input', 'accept'],
      ['ip', 'nat', 'postrouting', 'accept'],
      ['ip6', 'filter', 'forward', 'drop'],
    ])
  },
)

onLegacyKernel('what drops in them is read with its chain, its number and how many packets it has had', async t => {
  using host = openKernel()
  using theirs = scratchNetns()
  using kernel = host.inside(theirs.path)
  t.deepEqual(await kernel.legacyDrops(), [])
  run(theirs.path, 'ip', ['link', 'set', 'lo', 'up'])
  for (const [program, address, others] of [
    ['iptables-legacy', '127.0.0.9', '127.0.0.8'],
    ['ip6tables-legacy', '::1', 'fd00::8'],
  ] as const)
    for (const words of [
      '-P FORWARD DROP',
      '-N bad',
      '-A bad -j LOG',
      '-A bad -j REJECT',
      '-A OUTPUT -o eth9 -j ACCEPT',
      `-A OUTPUT -d ${others} -j bad`,
      `-A OUTPUT -d ${address} -m comment --comment no -j DROP`,
      '-t raw -P OUTPUT DROP',
      '-t raw -A OUTPUT -o lo -j ACCEPT',
    ])
      run(theirs.path, program, words.split(' '))
  for (const address of ['127.0.0.9', '127.0.0.8', '::1'])
    t.throws(() => run(theirs.path, 'ping', ['-n', '-c', '2', '-i', '0.01', '-W', '0.1', address]))
  const found = await kernel.legacyDrops()
  const text = ({ family, table, chain, rule, target, packets }: LegacyDrop) =>
    `${family} ${table} ${chain} ${rule ?? 'policy'} ${target} ${packets}`
  t.deepEqual(found.map(text).sort(), [
    'ipv4 filter FORWARD policy DROP 0',
    'ipv4 filter OUTPUT 3 DROP 2',
    'ipv4 filter bad 2 REJECT 2',
    'ipv4 raw OUTPUT policy DROP 0',
    'ipv6 filter FORWARD policy DROP 0',
    'ipv6 filter OUTPUT 3 DROP 2',
    'ipv6 filter bad 2 REJECT 0',
    'ipv6 raw OUTPUT policy DROP 0',
  ])
})

onLegacyKernel('they are read with CAP_NET_ADMIN and CAP_SYS_ADMIN alone', t => {
  using theirs = scratchNetns()
  for (const program of Object.values(PROGRAMS)) run(theirs.path, program, ['-P', 'FORWARD', 'DROP'])
  const kernel = new URL('../../kernel/linux/kernel.ts', import.meta.url).href
  const reading = `
    const { openKernel } = await import(${JSON.stringify(kernel)})
    using host = openKernel()
    using kernel = host.inside(${JSON.stringify(theirs.path)})
    console.log((await kernel.legacyForwardChains()).map(({ chain }) => chain.family).join())`
  const alone = ['--bounding-set=-all,+net_admin,+sys_admin', '--inh-caps=-all']
  const argv = [...alone, process.execPath, '--input-type=module', '--eval', reading]
  t.is(execFileSync(systemProgram('setpriv'), argv, { encoding: 'utf8' }), 'ip,ip6\n')
})
