// The installer beside other networks, other installers, and in the middle of being killed.
import { execFile as execFileOf, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { conflistText, foreignNetworks } from '../../cni/conflist.ts'
import { type InstallOptions, installPlugin, uninstallPlugin } from '../../cni/install.ts'
import type { FileLabels } from '../../cni/runtime-files.ts'
import type { Step } from './install-child.ts'

const execFile = promisify(execFileOf)
const CHILD = fileURLToPath(new URL('install-child.ts', import.meta.url))
const OLD_PLUGIN = 'Margay: a routed network for containers, an older one'
const OLD_CONF = conflistText({ network: 'older', socket: '/run/older.sock', chained: [] })
const FOREIGN = JSON.stringify({ cniVersion: '1.0.0', name: 'k8s-pod-network', plugins: [{ type: 'calico' }] })

type Host = { binDir: string; confDir: string; install: (options?: Partial<InstallOptions>) => unknown }

function aHost(t: ExecutionContext): Host {
  const folder = mkdtempSync(join(tmpdir(), 'margay-install-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [binDir, confDir] = [join(folder, 'bin'), join(folder, 'net.d')]
  mkdirSync(binDir)
  mkdirSync(confDir)
  const install = (options: Partial<InstallOptions> = {}) =>
    installPlugin({ binDir, confDir, socket: '/run/margay/agent.sock', ...options })
  return { binDir, confDir, install }
}

function aPlugin({ binDir }: Host, name: string, versions?: readonly string[]): void {
  const said = versions === undefined ? '' : `echo '${JSON.stringify({ supportedVersions: versions })}'\n`
  writeFileSync(join(binDir, name), `#!/bin/sh\n${said}`, { mode: 0o755 })
}

function typesIn({ confDir }: Host): string[] {
  const { plugins } = JSON.parse(readFileSync(join(confDir, '10-margay.conflist'), 'utf8'))
  return plugins.map(({ type }: { type: string }) => type)
}

test('a configuration of another network is refused by its name, and nothing is written', t => {
  const host = aHost(t)
  writeFileSync(join(host.confDir, '05-cilium.conflist'), FOREIGN)
  writeFileSync(
    join(host.confDir, '87-podman.conf'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'p', type: 'bridge' }),
  )
  const error = t.throws(() => host.install(), { name: 'ForeignNetwork' })
  t.regex(error.message, /05-cilium\.conflist, .*87-podman\.conf: .*05-cilium\.conflist comes before 10-margay/)
  t.deepEqual(readdirSync(host.binDir), [])
  t.is(readdirSync(host.confDir).length, 2)
})

test('a configuration of another network under our name is never written over, with force neither', t => {
  const host = aHost(t)
  for (const [name, force] of [
    ['10-margay.conflist', false],
    ['10-margay.conflist', true],
    ['10-flannel.conflist', true],
  ] as const) {
    writeFileSync(join(host.confDir, name), FOREIGN)
    const error = t.throws(() => host.install({ confName: name, force }), { name: 'ForeignNetwork' })
    t.regex(error.message, new RegExp(`${name} is the configuration of another network; .*--conf-name`))
    t.is(readFileSync(join(host.confDir, name), 'utf8'), FOREIGN)
  }
  t.deepEqual(readdirSync(host.binDir), [])
})

/** Those of the program. */
const NAMES = ['margay', 'margay-ipam']
const programs = (host: { binDir: string }) => NAMES.map(name => join(host.binDir, name))

test('a configuration of ours under an older name goes when there is a new one, and with the removal', t => {
  const host = aHost(t)
  host.install()
  host.install({ confName: '20-margay.conflist', socket: '/new' })
  t.deepEqual(readdirSync(host.confDir), ['20-margay.conflist'])
  t.regex(readFileSync(join(host.confDir, '20-margay.conflist'), 'utf8'), /"\/new"/)
  t.deepEqual(uninstallPlugin(host), [join(host.confDir, '20-margay.conflist'), ...programs(host)])
})

test('with force both configurations are there', t => {
  const host = aHost(t)
  writeFileSync(join(host.confDir, '99-other.conf'), FOREIGN)
  host.install({ force: true })
  t.deepEqual(readdirSync(host.confDir).sort(), ['10-margay.conflist', '99-other.conf'])
  t.is(readFileSync(join(host.confDir, '99-other.conf'), 'utf8'), FOREIGN)
})

test('no other network are the loopback, multus, half a file, what is no configuration by its name, and older ones of ours', t => {
  const files = {
    '99-loopback.conf': '{"cniVersion":"1.0.0","name":"lo","type":"loopback"}',
    '00-multus.conf': '{"name":"multus","type":"multus-shim"}',
    '20-half.conflist': FOREIGN.slice(0, 30),
    '10-calico.conflist.bak': FOREIGN,
    'whereabouts.d': FOREIGN,
    '11-margay.conflist': OLD_CONF,
  }
  t.deepEqual(foreignNetworks(Object.entries(files).map(([name, text]) => ({ name, text }))), [])
  t.deepEqual(foreignNetworks([{ name: 'a.json', text: FOREIGN }]), ['a.json'])
})

test('portmap and bandwidth are chained behind ours where they can be executed', t => {
  const host = aHost(t)
  host.install()
  t.deepEqual(typesIn(host), ['margay'])
  aPlugin(host, 'portmap')
  aPlugin(host, 'bandwidth')
  chmodSync(join(host.binDir, 'bandwidth'), 0o644)
  host.install()
  t.deepEqual(typesIn(host), ['margay', 'portmap'])
  chmodSync(join(host.binDir, 'bandwidth'), 0o755)
  host.install()
  t.deepEqual(typesIn(host), ['margay', 'portmap', 'bandwidth'])
  host.install({ chain: [] })
  t.deepEqual(typesIn(host), ['margay'])
})

for (const { what, portmap, offered, chosen } of [
  { what: 'CNI 1.1', portmap: ['0.4.0', '1.0.0', '1.1.0'], offered: ['0.4.0', '1.0.0', '1.1.0'], chosen: '1.0.0' },
  { what: 'up to CNI 1.0', portmap: ['0.3.1', '0.4.0', '1.0.0'], offered: ['0.4.0', '1.0.0'], chosen: '1.0.0' },
  { what: 'up to CNI 0.4', portmap: ['0.3.1', '0.4.0'], offered: ['0.4.0'], chosen: '0.4.0' },
  { what: 'it does not say what', portmap: undefined, offered: ['0.4.0', '1.0.0'], chosen: '1.0.0' },
])
  test(`a runtime asks a chained plugin that speaks ${what} in no newer version`, t => {
    const host = aHost(t)
    aPlugin(host, 'portmap', portmap)
    host.install()
    const conf = JSON.parse(readFileSync(join(host.confDir, '10-margay.conflist'), 'utf8'))
    t.deepEqual([conf.cniVersions, conf.cniVersion], [offered, chosen])
    t.deepEqual(typesIn(host), ['margay', 'portmap'])
  })

test('a plugin that speaks no version of CNI that ours and those before it do is not chained', t => {
  const host = aHost(t)
  aPlugin(host, 'portmap', ['0.1.0', '0.3.1'])
  aPlugin(host, 'bandwidth', ['0.4.0'])
  t.like(host.install(), { leftOut: ['portmap'] })
  t.deepEqual(typesIn(host), ['margay', 'bandwidth'])
  aPlugin(host, 'portmap', ['1.0.0'])
  t.like(host.install(), { leftOut: ['bandwidth'] })
  t.deepEqual(typesIn(host), ['margay', 'portmap'])
})

test('what was installed is removed, the configuration first, and nothing else', t => {
  const host = aHost(t)
  aPlugin(host, 'portmap')
  writeFileSync(join(host.confDir, '99-loopback.conf'), '{"type":"loopback"}')
  host.install()
  const removed = uninstallPlugin(host)
  t.deepEqual(removed, [join(host.confDir, '10-margay.conflist'), ...programs(host)])
  t.deepEqual(readdirSync(host.binDir), ['portmap'])
  t.deepEqual(readdirSync(host.confDir), ['99-loopback.conf'])
  t.deepEqual(uninstallPlugin(host), [])
})

test('files of others under our names are not removed', t => {
  const host = aHost(t)
  for (const name of NAMES) aPlugin(host, name)
  writeFileSync(join(host.confDir, '10-margay.conflist'), FOREIGN)
  t.deepEqual(uninstallPlugin(host), [])
  t.deepEqual([readdirSync(host.binDir), readdirSync(host.confDir)], [NAMES, ['10-margay.conflist']])
})

test('removing where nothing was ever installed is fine', t => {
  const host = aHost(t)
  rmSync(host.binDir, { recursive: true })
  rmSync(host.confDir, { recursive: true })
  t.deepEqual(uninstallPlugin(host), [])
})

test('a file that is replaced keeps its label, and a new one has that of its folder', t => {
  const host = aHost(t)
  const plugin = join(host.binDir, 'margay')
  const written: string[] = []
  const labels: FileLabels = {
    read: path =>
      existsSync(path) ? Buffer.from(`system_u:object_r:${path === plugin ? 'bin' : 'etc'}_t:s0`) : undefined,
    write: (path, label) => void written.push(`${path.replace(/\.\d+-[0-9a-f-]{36}\.new$/, '')} ${Buffer.from(label)}`),
  }
  host.install({ labels })
  t.deepEqual(written, [])
  writeFileSync(plugin, OLD_PLUGIN)
  host.install({ labels })
  t.deepEqual(written, [`${plugin} system_u:object_r:bin_t:s0`])
})

for (const [how, what] of [
  ['kill', 'is killed'],
  ['full', 'meets a full disk'],
] as const)
  test(`an installer that ${what} at any step leaves old or new files, and the next one finishes`, t => {
    const host = aHost(t)
    const [plugin, conf] = [join(host.binDir, 'margay'), join(host.confDir, '10-margay.conflist')]
    host.install()
    const now = [readFileSync(plugin, 'utf8'), readFileSync(conf, 'utf8')]
    writeFileSync(plugin, OLD_PLUGIN)
    writeFileSync(conf, OLD_CONF)
    const child = spawnSync(process.execPath, [CHILD, host.binDir, host.confDir, how], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    })
    t.is(child.stderr, '')
    const steps: Step[] = JSON.parse(child.stdout)
    t.true(steps.length > 12)
    for (const step of steps) {
      t.true([OLD_PLUGIN, now[0]].includes(step.plugin))
      t.true([OLD_CONF, now[1]].includes(step.conf))
      // the configuration comes last
      if (step.conf === now[1]) t.true(step.plugin === now[0])
      if (how === 'full') t.deepEqual(step.names, [...NAMES, '10-margay.conflist'])
      t.deepEqual(step.repaired, [...now, ...NAMES, '10-margay.conflist'])
    }
  })

test('what another installer is writing stays, and what dead ones left goes, those of earlier versions too', async t => {
  const host = aHost(t)
  mkdirSync(host.confDir, { recursive: true })
  const other = spawn(process.execPath, ['--eval', 'setInterval(() => {}, 1000)'])
  t.teardown(() => other.kill('SIGKILL'))
  const ended = spawn(process.execPath, ['--eval', ''])
  await once(ended, 'exit')
  const uuid = '7c7febb1-9288-4139-ab84-11fb911f4abb'
  const writing = `10-margay.conflist.${other.pid}-${uuid}.new`
  for (const name of [writing, `10-margay.conflist.${ended.pid}-${uuid}.new`, `10-margay.conflist.${uuid}.new`])
    writeFileSync(join(host.confDir, name), '')
  host.install()
  t.deepEqual(readdirSync(host.confDir).toSorted(), ['10-margay.conflist', writing])
})

test('two installers at once both finish, and each file is whole', async t => {
  const host = aHost(t)
  const argv = [
    '--input-type=module',
    '--eval',
    `
    const { installPlugin } = await import(${JSON.stringify(new URL('../../cni/install.ts', import.meta.url))})
    for (let round = 0; round < 30; round++)
      installPlugin({ binDir: ${JSON.stringify(host.binDir)}, confDir: ${JSON.stringify(host.confDir)}, socket: process.argv[1] + round })
  `,
  ]
  const ends = await Promise.all(['/run/a', '/run/b'].map(socket => execFile(process.execPath, [...argv, socket])))
  t.deepEqual(
    ends.map(({ stderr }) => stderr),
    ['', ''],
  )
  t.deepEqual(typesIn(host), ['margay'])
  t.deepEqual([readdirSync(host.binDir), readdirSync(host.confDir)], [NAMES, ['10-margay.conflist']])
})
