// npm puts node_modules/.bin first on the PATH, so a name alone may start a dependency's program: every program is
// started by the path that lib/system-program.ts finds.
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { findSystemProgram, SYSTEM_PATH, systemProgram } from '../../lib/system-program.ts'
import { files, importsOf, shown, textOf } from './source.ts'

test('a program of the same name that is earlier on the PATH is not taken', t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-path-'))
  const path = process.env['PATH']
  t.teardown(() => {
    process.env['PATH'] = path
    rmSync(dir, { recursive: true })
  })
  for (const name of ['sh', 'margay-no-such']) {
    writeFileSync(join(dir, name), '#!/bin/sh\n')
    chmodSync(join(dir, name), 0o755)
  }
  process.env['PATH'] = `${dir}:${path}`
  t.regex(systemProgram('sh'), /^\/(usr\/)?s?bin\/sh$/)
  t.is(findSystemProgram('margay-no-such'), undefined)
  t.throws(() => systemProgram('margay-no-such'), { code: 'ENOENT', message: /not installed: .*\/usr\/sbin/ })
  t.is(systemProgram(`${dir}/margay-no-such`), `${dir}/margay-no-such`)
})

test('no source file starts a program by its name alone, or asks a shell for one', t => {
  const byName =
    /\b(spawn|spawnSync|execFile|execFileSync|promisify\(execFile\))\(\s*(['"`])(?!\/)[^'"`]*\2|\['(nsenter|unshare|sudo)'|command -v/g
  const starters = files.filter(file =>
    importsOf(file).some(({ specifier }) => /^node:child_process$|\/netns\.ts$/.test(specifier)),
  )
  t.true(starters.length > 40)
  const found = starters
    .filter(file => !file.startsWith('test/structure/'))
    .flatMap(file => [...textOf(file).matchAll(byName)].map(([text]) => `${file}: ${text}`))
  t.deepEqual(found, [])
  const withShell = starters.flatMap(importsOf).filter(({ names }) => names.some(name => /^exec(Sync)?$/.test(name)))
  t.deepEqual(withShell.map(shown), [])
})

test('set-up looks for programs in the same folders as everything else', t => {
  const setup = readFileSync(new URL('../../lab/setup.sh', import.meta.url), 'utf8')
  const [npm, debian] = setup.split(`\nPATH=${SYSTEM_PATH}\n`)
  t.false(/command -v/.test(npm!))
  t.true(/command -v/.test(debian!))
  t.false(/\bPATH=/.test(npm! + debian!))
})

test('no program of the machine is looked for while the lab is loaded: it tells what is missing where that is needed', t => {
  const source =
    'const none = name => { throw new Error(name + " is looked for") }; export { none as systemProgram, none as findSystemProgram }; export const SYSTEM_PATH = ""'
  const hooks = `
    import { registerHooks } from 'node:module'
    const source = ${JSON.stringify(source)}
    registerHooks({
      load: (url, context, next) =>
        url.endsWith('/lib/system-program.ts') ? { format: 'module', shortCircuit: true, source } : next(url, context),
    })`
  const args = [
    '--import',
    `data:text/javascript,${encodeURIComponent(hooks)}`,
    new URL('../../lab/main.ts', import.meta.url).pathname,
    '--help',
  ]
  t.regex(execFileSync(process.execPath, args, { encoding: 'utf8' }), /^Usage: npm run lab/)
})
