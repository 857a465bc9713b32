// The options of `npm run lab` that make no lab.
import { spawnSync } from 'node:child_process'
import test from 'ava'
import { root } from '../../lab/lab.ts'
import { parseRequest, type Request, WrongUsage } from '../../lab/request.ts'

function lab(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, ['lab/main.ts', ...args], { cwd: root, encoding: 'utf8' })
}

test('--help explains every flag and the exit codes on stdout and ends with 0', t => {
  const { status, stdout } = lab('--help')
  t.is(status, 0)
  for (const word of [
    '--keep',
    'down',
    '--nodes',
    '--json',
    '--vm',
    '--kubernetes',
    'fault heal',
    'ctl',
    'shell',
    'Exit codes',
  ])
    t.true(stdout.includes(word), word)
})

for (const args of [
  ['--nodes', '3'],
  ['--nodes', '0,0'],
  ['--nodes', '30,30'],
  ['--sideways'],
  ['up'],
  ['down', '--vm'],
  ['down', '--kubernetes'],
  ['--kubernetes', '--vm'],
  ['--kubernetes', '--proxy', 'ipvs'],
  ['--proxy', 'nftables'],
])
  test(`"${args.join(' ')}" is wrong usage: exit code 2, the reason, and the help text`, t => {
    const { status, stdout, stderr } = lab(...args)
    t.is(status, 2)
    t.is(stdout, '')
    t.regex(stderr, /Usage: npm run lab/)
    t.not(stderr.split('\n')[0], '')
  })

test('--keep with --vm is refused, since the machine ends with the lab', t => {
  t.is(lab('--keep', '--vm').status, 2)
})

test('--kubernetes without its programs says which are missing, where they come from, and ends with 3', t => {
  const env = { ...process.env, K8S_BIN: '/nonexistent' }
  const { status, stderr } = spawnSync(process.execPath, ['lab/main.ts', '--kubernetes'], {
    ...{ cwd: root, encoding: 'utf8', env },
  })
  t.is(status, 3)
  if (process.geteuid?.() === 0) t.regex(stderr, /\/nonexistent has no etcd, kube-apiserver.*K8S_BIN/s)
  else t.regex(stderr, /needs root/)
})

const asked: readonly [string, Request][] = [
  ['down', 'down'],
  ['fault --help', 'help'],
  ['fault', { menu: 'fault', name: undefined, tell: false }],
  ['fault 03 --tell', { menu: 'fault', name: '03', tell: true }],
  ['fault heal', { menu: 'heal', name: undefined }],
  ['fault heal route-missing', { menu: 'heal', name: 'route-missing' }],
  ['ctl get nodes -o wide', { menu: 'ctl', words: ['get', 'nodes', '-o', 'wide'] }],
  ['ctl n2 node status --help', { menu: 'ctl', node: 'n2', words: ['node', 'status', '--help'] }],
  ['explain n1-p1 n2-p1 tcp/80 -o json', { menu: 'explain', words: ['n1-p1', 'n2-p1', 'tcp/80', '-o', 'json'] }],
  ['shell n1', { menu: 'shell', at: 'n1', words: [] }],
  ['shell n1-p1 ping -c 3 n2', { menu: 'shell', at: 'n1-p1', words: ['ping', '-c', '3', 'n2'] }],
]
for (const [words, request] of asked)
  test(`"${words}" is understood, and the options of another program are left to it`, t => {
    t.deepEqual(parseRequest(words.split(' ')), request)
  })

for (const words of [
  'fault 03 05',
  'fault heal 03 05',
  'fault heal --tell',
  'fault --keep',
  'explain',
  'ctl',
  'shell',
  'shell --keep',
])
  test(`"${words}" of a kept lab is wrong usage`, t => {
    t.throws(() => parseRequest(words.split(' ')), { instanceOf: WrongUsage })
  })
