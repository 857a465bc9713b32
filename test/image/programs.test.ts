// The programs as the image has them, run from an empty folder. The whole image: whole-image.test.ts.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { BfdThread } from '../../bgp/bfd/thread.ts'
import { thisMachine } from '../../cni/compile.ts'
import { bundlePrograms } from '../../image/bundle.ts'
import { margayFiles } from '../../image/margay.ts'
import type { TarEntry } from '../../lib/tar.ts'

const run = promisify(execFile)
const root = new URL('../..', import.meta.url).pathname
const { bin, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  bin: Record<string, string>
  version: string
}
const folder = mkdtempSync(join(tmpdir(), 'margay-programs-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

test('the bundled programs run without node_modules, and know nothing of the folder they were made in', async t => {
  t.timeout(300_000)
  const bundle = await bundlePrograms()
  let files: TarEntry[]
  try {
    files = margayFiles(thisMachine(), version, bundle)
  } catch (error) {
    t.log(`skipped: ${(error as Error).message}`)
    t.pass()
    return
  }
  for (const { path, content, mode } of files) {
    const place = join(folder, path)
    mkdirSync(dirname(place), { recursive: true })
    writeFileSync(place, content!, { mode })
  }
  for (const { path, content } of files) t.false(Buffer.from(content!).includes(root), `${path} names ${root}`)
  const program = (name: string) => join(folder, 'opt/margay', `${name}.js`)
  for (const name of Object.keys(bin)) {
    // a plugin of kubectl has the words of its call; the one for completion answers what words may follow
    const usage = `Usage: ${name.replace('kubectl-', 'kubectl ')} `
    const expected = name.startsWith('kubectl_complete-') ? /^\S+\n/ : new RegExp(`^${usage}`)
    const words = name.startsWith('kubectl_complete-') ? [''] : ['--help']
    const { stdout } = await run(process.execPath, [program(name), ...words], { cwd: folder, env: {} })
    t.regex(stdout, expected)
  }
  const installed = join(folder, 'host')
  const words = [program('margay-node'), 'install', '--bin-dir', installed]
  await run(process.execPath, words, { cwd: folder, env: {} })
  const plugin = `opt/margay/cni/${thisMachine()}/margay`
  t.deepEqual(readFileSync(join(installed, 'margay')), readFileSync(join(folder, plugin)))
  const { stdout } = await run(process.execPath, [program('margayctl'), 'version'], { cwd: folder, env: {} })
  t.true(stdout.includes(version), stdout)
  // the thread of BFD, which a bug in it would end with this process
  const bfd = new BfdThread(pathToFileURL(program('agent/bfd-worker')))
  t.deepEqual((await bfd.status()).sessions, [])
  await bfd.close()
})
