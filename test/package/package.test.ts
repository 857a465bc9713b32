// The package as others get it: packed by npm, unpacked into an empty folder as npm does, beside the dependencies that
// package.json names and nothing else. Needs no network.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { findSystemProgram, SYSTEM_PATH, systemProgram } from '../../lib/system-program.ts'
import { assertExampleRuns, example } from '../bgp/example.ts'
import { unexportedTypes } from './declarations.ts'

type Manifest = {
  version: string
  bin: Record<string, string>
  engines: { node: string }
  exports: Record<string, string | { types: string; default: string }>
  dependencies: Record<string, string>
}
type Installed = { user: string; folder: string; manifest: Manifest; files: string[] }

const root = new URL('../..', import.meta.url).pathname
const run = promisify(execFile)
const npm = npmCommand()
const temporary = mkdtempSync(join(tmpdir(), 'margay-package-'))
let installed: Installed | undefined

test.before(async () => {
  if (npm !== undefined) installed = await install()
})
test.after.always(() => rmSync(temporary, { recursive: true, force: true }))

/** The npm that runs these tests, or the machine's; with its own Node, since Debian's npm does not run on another one. */
function npmCommand(): string[] | undefined {
  const { npm_node_execpath: node, npm_execpath: script } = process.env
  if (node !== undefined && script !== undefined) return [node, script]
  const program = findSystemProgram('npm')
  return program === undefined ? undefined : [program]
}

async function install(): Promise<Installed> {
  const [program, ...words] = npm!
  const env = { ...process.env, PATH: SYSTEM_PATH }
  await run(program!, [...words, 'pack', '--silent', '--pack-destination', temporary], { cwd: root, env })
  const archive = readdirSync(temporary).find(name => name.endsWith('.tgz'))
  const user = join(temporary, 'user')
  const folder = join(user, 'node_modules/margay')
  mkdirSync(folder, { recursive: true })
  await run(systemProgram('tar'), ['-xzf', join(temporary, archive!), '-C', folder, '--strip-components=1'])
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
  for (const name of [...Object.keys(manifest.dependencies), '@types/node']) {
    const link = join(user, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), link)
  }
  writeFileSync(join(user, 'package.json'), '{"type":"module"}\n')
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
  return { user, folder, manifest, files }
}

function withPackage(title: string, body: (t: ExecutionContext, installed: Installed) => Promise<void> | void): void {
  test(title, t => {
    t.timeout(60_000)
    if (installed !== undefined) return body(t, installed)
    t.log('skipped: no npm here')
    return t.pass()
  })
}

withPackage(
  'the package holds JavaScript with source maps and declarations, and no tests, benches or labs',
  (t, it) => {
    const { files, manifest, folder } = it
    t.deepEqual(
      files.filter(file => /^(dist\/)?(test|bench|lab)\//.test(file) || /(?<!\.d)\.ts$/.test(file)),
      [],
    )
    // the page of the map is for a browser
    const isPage = (file: string) => file.startsWith('dist/ui/assets/')
    t.deepEqual(
      files
        .filter(isPage)
        .map(file => file.replace(/^.*\/|-[A-Z0-9]{8}/g, ''))
        .toSorted(),
      [...['app.js', 'icon.svg', 'index.html', 'style.css']],
    )
    const scripts = files.filter(file => file.endsWith('.js') && !isPage(file))
    t.true(scripts.length > 100)
    t.deepEqual(
      scripts.filter(file => !files.includes(`${file}.map`)),
      [],
    )
    const imports = scripts.flatMap(file =>
      [
        ...readFileSync(join(folder, file), 'utf8').matchAll(
          /^(?:import|export)\b(?:[^'"=;()]*\bfrom)? *(?:'([^']+)'|"([^"]+)");|\bimport\((?:'([^']+)'|"([^"]+)")\)/gm,
        ),
      ].map(([, ...specifiers]) => ({ file, specifier: specifiers.find(each => each !== undefined)! })),
    )
    t.true(imports.length > 300)
    const broken = imports.filter(({ file, specifier }) =>
      specifier.startsWith('.')
        ? !files.includes(join(dirname(file), specifier))
        : !specifier.startsWith('node:') &&
          !Object.keys(manifest.dependencies).some(name => specifier.startsWith(name)),
    )
    t.deepEqual(broken, [])
    const named = Object.values(manifest.exports).flatMap(each =>
      typeof each === 'string' ? [each] : [each.types, each.default],
    )
    for (const path of [...named, ...Object.values(manifest.bin)]) t.true(files.includes(path.replace('./', '')), path)
    t.is(manifest.engines.node, '>=24.0.0')
  },
)

withPackage('every program of the package says how it is used', async (t, { folder, manifest }) => {
  t.deepEqual(Object.keys(manifest.bin).sort(), [
    'kubectl-margay',
    'kubectl_complete-margay',
    'margay-api',
    'margay-bgp',
    'margay-controllers',
    'margay-node',
    'margayctl',
  ])
  await Promise.all(
    Object.entries(manifest.bin).map(async ([name, path]) => {
      const { stdout } = await run(process.execPath, [join(folder, path), '--help'])
      // by the path of its file it does not know that kubectl starts it
      t.true(stdout.startsWith(`Usage: ${name.startsWith('kubectl') ? 'margayctl' : name} `), stdout)
      t.regex(readFileSync(join(folder, path), 'utf8'), /^#!\/usr\/bin\/env node\n/)
    }),
  )
})

withPackage('margayctl of the package knows its version, and the CNI plugin that it installs runs', async (t, it) => {
  const { folder, manifest, user } = it
  const program = (name: string, ...args: string[]) =>
    run(process.execPath, [join(folder, manifest.bin[name]!), ...args])
  const version = await program('margayctl', 'version', '-o', 'json')
  t.is(JSON.parse(version.stdout).client, manifest.version)
  const { stdout } = await program('margay-node', 'install', '--bin-dir', join(user, 'bin'))
  const machine = process.arch === 'x64' ? 'amd64' : process.arch
  t.deepEqual(readFileSync(stdout.trim()), readFileSync(join(folder, `dist/cni/${machine}/margay`)))
  const plugin = run(stdout.trim(), [], { env: { CNI_COMMAND: 'VERSION' } })
  plugin.child.stdin?.end()
  t.true(JSON.parse((await plugin).stdout).supportedVersions.includes('1.1.0'))
})

withPackage(
  'without a program of the plugin for this machine, the package makes it from its plugin.c',
  async (t, it) => {
    if (!['gcc', 'clang', 'cc', 'tcc'].some(name => findSystemProgram(name) !== undefined)) {
      t.log('skipped: no C compiler is installed here')
      t.pass()
      return
    }
    const { folder, manifest, user } = it
    const copy = join(user, 'node_modules/copy')
    cpSync(folder, copy, { recursive: true })
    const programs = readdirSync(join(copy, 'dist/cni')).filter(name => /^(amd64|arm64)$/.test(name))
    t.true(programs.length > 0)
    for (const name of programs) rmSync(join(copy, 'dist/cni', name), { recursive: true })
    const args = [join(copy, manifest.bin['margay-node']!), 'install', '--bin-dir', join(user, 'made')]
    const { stdout } = await run(process.execPath, args)
    const packed = join(folder, 'dist/cni', process.arch === 'x64' ? 'amd64' : process.arch, 'margay')
    t.deepEqual(readFileSync(stdout.trim()), readFileSync(packed))
  },
)

withPackage('margay-api of the package reads YAML, which a thread with a program of its own does', async (t, it) => {
  const { folder, manifest, user } = it
  const data = join(user, 'api')
  const args = [join(folder, manifest.bin['margay-api']!), '--data-dir', data, '--listen', '127.0.0.1:0']
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const authorization = `Bearer ${readFileSync(join(data, 'token'), 'utf8').trim()}`
  const response = await fetch(`${/ready on (\S+),/.exec(line)![1]}/apis/projectcalico.org/v3/ippools`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/yaml' },
    body: 'apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: y}\nspec: {cidr: 10.1.0.0/16}\n',
  })
  t.is(response.status, 201, await response.text())
  child.kill()
  await once(child, 'exit')
})

withPackage('the example of the README runs with the installed package', (t, { user }) =>
  assertExampleRuns(t, user, []),
)

withPackage('BFD of the installed package is at work in its thread', async (t, { user }) => {
  const script = `import { BfdThread } from 'margay/bgp/bfd'
const bfd = new BfdThread(new URL(import.meta.resolve('margay/bgp/bfd-worker')))
bfd.setSession('a', { local: '127.0.0.1', peer: '127.0.0.2', passive: true })
console.log(JSON.stringify(await bfd.status()))
await bfd.close()`
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], { cwd: user })
  t.like(JSON.parse(stdout).sessions[0], { name: 'a', state: 'Down', sent: 0 })
})

withPackage(
  'every type that a signature of the library names is exported, and the compiler finds them',
  async (t, it) => {
    const { user, folder, manifest } = it
    const entries = Object.values(manifest.exports).flatMap(each => (typeof each === 'string' ? [] : [each.types]))
    t.deepEqual(unexportedTypes(entries.map(path => join(folder, path))), [])
    writeFileSync(join(user, 'example.ts'), example)
    writeFileSync(
      join(user, 'types.ts'),
      `import { type PeerConfig, Speaker, SpeakerError } from 'margay/bgp'
import { type BfdSessionConfig, type BfdStatus, BfdThread, isPathFailure } from 'margay/bgp/bfd'
import * as socketOptions from 'margay/bgp/socket-options'
import { TcpTransport } from 'margay/bgp/tcp'
import { emitOpen, type Open, Writer } from 'margay/bgp/wire'
export const peer: PeerConfig = { asn: 65001 }
export const session: BfdSessionConfig = { local: '192.0.2.1', peer: '192.0.2.2' }
export const status = (bfd: BfdThread): Promise<BfdStatus> => bfd.status()
export const off = (bfd: BfdThread) => bfd.onChange(change => isPathFailure(change, { restarting: false }))
// @ts-expect-error an address is a text
export const wrong: PeerConfig = { asn: 65001, address: 1 }
export const speaker = new Speaker({ asn: 1, routerId: '192.0.2.1' }, { transport: new TcpTransport(socketOptions) })
// @ts-expect-error only peers are set
speaker.setPeer(1)
export const code: 'closed' | 'name-taken' | 'no-peer' | 'bad-rule' | 'no-bfd' = new SpeakerError('closed', '').code
export const write = (open: Open) => emitOpen(new Writer(new Uint8Array(100)), open)
// @ts-expect-error an OPEN has an AS number
emitOpen(new Writer(new Uint8Array(100)), {})
`,
    )
    const options = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--target',
      'esnext',
      '--module',
      'nodenext',
      '--types',
      'node',
    ]
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const { stdout } = await run(process.execPath, [tsc, ...options, 'example.ts', 'types.ts'], { cwd: user }).catch(
      e => e,
    )
    t.is(stdout, '')
  },
)
