// Addresses by other plugins: Debian's host-local and static, and one of this test that writes down how it is called.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { checkAddresses } from '../../cni/address-check.ts'
import { addressOf, conf, type PluginAnswer, type Result, resultOf, type TestNode, withNode } from './node.ts'

/** Debian's package containernetworking-plugins. */
const PLUGINS = '/usr/lib/cni'
const isRoot = process.getuid?.() === 0
const asRoot = isRoot ? test.serial : test.serial.skip
const withPlugins = isRoot && existsSync(join(PLUGINS, 'host-local')) ? test.serial : test.serial.skip

type Call = { verb: string; id: string; ifname: string; netns: string; stdin: Record<string, unknown> }

/** A plugin `other` that writes down its calls, answers with `answers[verb]`, and fails where that has a code. */
function aPlugin(
  node: TestNode,
  answers: Readonly<Record<string, string>> = {},
): { path: string; calls: () => Call[] } {
  const path = join(node.folder, 'plugins')
  mkdirSync(path, { recursive: true })
  const log = join(path, 'calls')
  writeFileSync(log, '')
  for (const [verb, answer] of Object.entries(answers)) writeFileSync(join(path, `answer-${verb}`), answer)
  writeFileSync(
    join(path, 'other'),
    `#!/bin/sh
printf '{"verb":"%s","id":"%s","ifname":"%s","netns":"%s","stdin":' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_NETNS" >>${log}
cat >>${log}
echo '}' >>${log}
[ ! -e ${path}/answer-$CNI_COMMAND ] || cat ${path}/answer-$CNI_COMMAND
! grep -q '"code"' ${path}/answer-$CNI_COMMAND 2>/dev/null
`,
    { mode: 0o755 },
  )
  const lines = (): string[] => readFileSync(log, 'utf8').split('\n').filter(Boolean)
  return { path, calls: () => lines().map(line => JSON.parse(line)) }
}

const GIVEN =
  '{"cniVersion":"1.0.0","ips":[{"address":"10.7.0.5/24","gateway":"10.7.0.1"}],"dns":{"nameservers":["10.7.0.53"]}}'
const verbsOf = (calls: readonly Call[]): string[] => calls.map(({ verb }) => verb)
const other = (more: object = {}) => conf({ ipam: { type: 'other', range: 'x' }, ...more })

async function nothingLeft(node: TestNode): Promise<unknown> {
  const links = (await node.kernel.links()).map(({ name }) => name).filter(name => name.startsWith('cali'))
  return { links, rows: node.deps.endpoints.all(), held: [...node.ipam.held().keys()] }
}
const NOTHING = { links: [], rows: [], held: [] }

withPlugins('host-local gives addresses: pods have their network, ADD again gives the same, and DEL frees them', t =>
  withNode(async node => {
    const dataDir = join(node.folder, 'host-local')
    const ranges = [[{ subnet: '10.7.0.0/29' }], [{ subnet: 'fd07::/120' }]]
    const config = conf({ ipam: { type: 'host-local', dataDir, ranges, routes: [{ dst: '0.0.0.0/0' }] } })
    const taken = () => readdirSync(join(dataDir, 'net')).filter(name => /^(10|fd)/.test(name))
    const env = (id: string, netns: string) => ({ CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_PATH: PLUGINS })
    const [netns, second] = [node.pod(), node.pod()]
    const result = resultOf(t, await node.run('ADD', env('a', netns), config))
    const peer = resultOf(t, await node.run('ADD', env('b', second), config))
    t.deepEqual(
      result.ips.map(({ address }) => address),
      ['10.7.0.2/32', 'fd07::2/128'],
    )
    t.is(node.deps.endpoints.all()[0]?.delegate?.type, 'host-local')
    for (const family of [0, 1]) t.is((await node.exec(netns, 'ping', '-c1', '-W2', addressOf(peer, family))).code, 0)
    t.deepEqual(resultOf(t, await node.run('ADD', env('a', netns), config)), result)
    const check = await node.run('CHECK', env('a', netns), { ...config, prevResult: result })
    t.is(check.code, 0, check.stdout)
    t.deepEqual(await checkAddresses(node.deps), { findings: [], looked: 2, unlooked: [] })
    // under any other source it sends nothing: the pair is that of the filter
    await node.exec(netns, 'ip', 'address', 'add', '10.7.0.6/32', 'dev', 'eth0')
    t.not((await node.exec(netns, 'ping', '-c1', '-W1', '-I', '10.7.0.6', addressOf(peer))).code, 0)
    t.is((await node.run('DEL', env('a', netns), config)).code, 0)
    t.deepEqual(taken(), ['10.7.0.3', 'fd07::3'])
    t.is((await node.run('DEL', env('b', ''), config)).code, 0)
    t.is((await node.run('DEL', env('b', ''), config)).code, 0)
    t.deepEqual([taken(), await nothingLeft(node)], [[], NOTHING])
  }),
)

withPlugins('what host-local says when its range is full reaches the runtime, and nothing is left', t =>
  withNode(async node => {
    const config = conf({ ipam: { type: 'host-local', dataDir: join(node.folder, 'd'), subnet: '10.7.0.0/30' } })
    resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'a', CNI_NETNS: node.pod(), CNI_PATH: PLUGINS }, config))
    const full = await node.run('ADD', { CNI_CONTAINERID: 'b', CNI_NETNS: node.pod(), CNI_PATH: PLUGINS }, config)
    t.is(full.code, 1)
    t.regex(String(full.json?.['msg']), /no IP addresses available in range set/)
    t.is(node.deps.endpoints.all().length, 1)
    t.is((await node.run('DEL', { CNI_CONTAINERID: 'a', CNI_PATH: PLUGINS }, config)).code, 0)
  }),
)

withPlugins('with usePodCidr the addresses are of the range of the Node, and without one ADD and DEL come again', t =>
  withNode(async node => {
    const ipam = {
      type: 'host-local',
      dataDir: join(node.folder, 'd'),
      ranges: [[{ subnet: 'usePodCidr' }], [{ subnet: 'usePodCidrIPv6' }]],
    }
    const env = { CNI_NETNS: node.pod(), CNI_PATH: PLUGINS }
    for (const verb of ['ADD', 'DEL']) {
      const refused = await node.run(verb, env, conf({ ipam }))
      t.like(refused.json, { code: 11 })
      t.regex(String(refused.json?.['msg']), /has no podCIDR of that family/)
    }
    Object.assign(node.deps, { podCidrs: () => ['10.9.0.0/24', 'fd09::/64'] })
    const result = resultOf(t, await node.run('ADD', env, conf({ ipam })))
    t.deepEqual([addressOf(result), addressOf(result, 1)], ['10.9.0.2', 'fd09::2'])
    t.is((await node.run('DEL', env, conf({ ipam }))).code, 0)
    t.deepEqual(
      readdirSync(join(node.folder, 'd/net')).filter(name => name.startsWith('10')),
      [],
    )
  }),
)

withPlugins('static gives the addresses and name servers that its configuration has', t =>
  withNode(async node => {
    const dns = { nameservers: ['10.7.0.53'], search: ['x.local'] }
    const ipam = { type: 'static', addresses: [{ address: '10.8.0.9/24' }, { address: 'fd08::9/64' }], dns }
    const env = { CNI_NETNS: node.pod(), CNI_PATH: PLUGINS }
    const result = resultOf(t, await node.run('ADD', env, conf({ ipam }))) as Result & { dns: object }
    t.deepEqual([addressOf(result), addressOf(result, 1), result.dns], ['10.8.0.9', 'fd08::9', dns])
    t.deepEqual(resultOf(t, await node.run('ADD', env, conf({ ipam }))), result)
    // another container that gets the same: the first one keeps it
    const twice = await node.run('ADD', { ...env, CNI_CONTAINERID: 'c2', CNI_NETNS: node.pod() }, conf({ ipam }))
    t.like(twice.json, { code: 100 })
    t.regex(String(twice.json?.['msg']), /static gave 10\.8\.0\.9, which net\/c1\/eth0 has/)
    t.is((await node.run('DEL', env, conf({ ipam }))).code, 0)
  }),
)

asRoot('another plugin is called once for each verb, with the environment and the configuration of the runtime', t =>
  withNode(async node => {
    const { path, calls } = aPlugin(node, { ADD: GIVEN })
    const netns = node.pod()
    const env = { CNI_NETNS: netns, CNI_PATH: `/none:relative:${PLUGINS}:${path}` }
    const result = resultOf(t, await node.run('ADD', env, other())) as Result & { dns: object }
    t.deepEqual(result.dns, { nameservers: ['10.7.0.53'] })
    t.is((await node.run('ADD', env, other())).code, 0)
    t.is((await node.run('CHECK', env, other({ prevResult: result }))).code, 0)
    t.is((await node.run('DEL', env, other())).code, 0)
    const { stdin, ...first } = calls()[0]!
    t.deepEqual(first, { verb: 'ADD', id: 'c1', ifname: 'eth0', netns })
    t.deepEqual(stdin, { agentSocket: node.socket, ...other() })
    t.deepEqual(verbsOf(calls()), ['ADD', 'CHECK', 'DEL'])
    t.deepEqual(await nothingLeft(node), NOTHING)
  }),
)

asRoot(
  'an address that cannot be used is given back: none, two of a family, one of our own, no JSON, or an ADD that fails',
  t =>
    withNode(async node => {
      const netns = node.pod()
      const own = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'own', CNI_NETNS: node.pod() }))
      const beside = addressOf(own).replace(/\d+$/, last => `${Number(last) ^ 1}`) // in the same block
      const ips = (...addresses: string[]) =>
        JSON.stringify({ cniVersion: '1.0.0', ips: addresses.map(address => ({ address })) })
      const cases: [answer: string, env: Record<string, string>, said: RegExp][] = [
        [ips(), {}, /what other gave cannot be used: it has no address/],
        [ips('10.7.0.5/24', '10.7.0.6/24'), {}, /two addresses of one family/],
        [ips('10.7.0.500/24'), {}, /its result\.ips\[0\]\.address must be an address/],
        [ips(`${addressOf(own)}/24`), {}, /which net\/own\/eth0 has/],
        [ips(`${beside}/24`), {}, /which is in the block 10\.244\.0\.\d+\/26 of pool/],
        ['', {}, /cannot be used: its answer/],
        ['[1', {}, /cannot be used: its answer/],
        [GIVEN, { CNI_IFNAME: 'lo' }, /CNI_IFNAME lo is already there/],
      ]
      for (const [answer, env, said] of cases) {
        const { path, calls } = aPlugin(node, { ADD: answer })
        const { code, json, stdout } = await node.run('ADD', { CNI_NETNS: netns, CNI_PATH: path, ...env }, other())
        t.is(code, 1, stdout)
        t.regex(String(json?.['msg']), said)
        t.deepEqual(verbsOf(calls()), ['ADD', 'DEL'])
      }
      t.is((await node.run('DEL', { CNI_CONTAINERID: 'own' })).code, 0)
      t.deepEqual(await nothingLeft(node), NOTHING)
    }),
)

asRoot('a plugin that fails, is not there, cannot be executed, is killed or says nothing is told with what to do', t =>
  withNode(async node => {
    const { path, calls } = aPlugin(node, { ADD: '{"cniVersion":"1.0.0","code":123,"msg":"no more","details":"wait"}' })
    const env = { CNI_NETNS: node.pod(), CNI_PATH: path }
    t.like((await node.run('ADD', env, other())).json, { code: 123, msg: 'no more' })
    t.deepEqual(verbsOf(calls()), ['ADD', 'DEL'])
    const program = (name: string, text: string) => writeFileSync(join(path, name), text, { mode: 0o755 })
    program('broken', 'no program')
    program('killed', '#!/bin/sh\nkill -9 $$\n')
    program('silent', '#!/bin/sh\nexit 3\n')
    const told = async (type: string, more: Record<string, string> = {}): Promise<PluginAnswer> =>
      node.run('ADD', { ...env, ...more }, conf({ ipam: { type } }))
    for (const [type, code, msg] of [
      ['nobody', 2, /the plugin nobody of ipam.type is in no folder of CNI_PATH/],
      ['broken', 5, /the plugin broken of ipam.type cannot be executed: /],
      ['killed', 5, /was killed/],
      ['silent', 5, /failed and said no error/],
      ['dhcp', 2, /invalid value of ipam\.type: "dhcp"/],
      ['../other', 2, /invalid value of ipam\.type/],
      ['a'.repeat(65), 2, /invalid value of ipam\.type/],
    ] as const) {
      const { json, stdout } = await told(type)
      t.is(json?.['code'], code, stdout)
      t.regex(String(json?.['msg']), msg)
      t.true(String(json?.['details']).length > 5)
    }
    t.deepEqual(await nothingLeft(node), NOTHING)
  }),
)

asRoot(
  'DEL reaches the other plugin while the agent is away too, and the address is nobody else’s before the agent had it',
  t =>
    withNode(async node => {
      const { path, calls } = aPlugin(node, { ADD: GIVEN })
      const env = { CNI_NETNS: node.pod(), CNI_PATH: path }
      resultOf(t, await node.run('ADD', env, other()))
      await node.stopAgent()
      t.like((await node.run('DEL', env, other())).json, { code: 11 })
      t.deepEqual(verbsOf(calls()), ['ADD', 'DEL'])
      t.like((await node.run('ADD', { ...env, CNI_CONTAINERID: 'c2' }, other())).json, { code: 11 })
      await node.startAgent()
      // its address is not another container's before its own DEL was here
      const early = await node.run('ADD', { ...env, CNI_CONTAINERID: 'c2', CNI_NETNS: node.pod() }, other())
      t.like(early.json, { code: 100 })
      t.is((await node.run('DEL', env, other())).code, 0)
      t.deepEqual(await nothingLeft(node), NOTHING)
      t.deepEqual(verbsOf(calls()), ['ADD', 'DEL', 'ADD', 'DEL', 'DEL'])
    }),
)

asRoot(
  'GC has the other plugin free what it deleted and forwards itself, and a plugin that knows neither GC nor STATUS is fine',
  t =>
    withNode(async node => {
      const unknown = '{"cniVersion":"1.1.0","code":4,"msg":"unknown CNI_COMMAND"}'
      const { path, calls } = aPlugin(node, { ADD: GIVEN, GC: unknown, STATUS: unknown })
      const config = other({ cniVersion: '1.1.0' })
      const env = { CNI_PATH: path }
      resultOf(t, await node.run('ADD', { ...env, CNI_NETNS: node.pod() }, config))
      // GC takes what is older than a minute
      for (const row of node.deps.endpoints.all()) node.deps.endpoints.publish({ ...row, createdMs: 0 })
      const gc = await node.run(
        'GC',
        { ...env, CNI_CONTAINERID: undefined, CNI_IFNAME: undefined },
        { ...config, 'cni.dev/valid-attachments': [] },
      )
      t.is(gc.code, 0, gc.stdout)
      t.deepEqual(
        calls().map(({ verb, id, ifname }) => [verb, id, ifname]),
        [
          ['ADD', 'c1', 'eth0'],
          ['DEL', 'c1', 'eth0'],
          ['GC', '', ''],
        ],
      )
      t.is((await node.run('STATUS', env, config)).code, 0)
      writeFileSync(join(path, 'answer-STATUS'), '{"cniVersion":"1.1.0","code":50,"msg":"no addresses"}')
      t.like((await node.run('STATUS', env, config)).json, { code: 50, msg: 'no addresses' })
      t.deepEqual(await nothingLeft(node), NOTHING)
    }),
)
