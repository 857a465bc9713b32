// Completion, asked as the shells do, and through the shells that are here.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { findSystemProgram } from '../../lib/system-program.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { programUnderTest } from '../program-file.ts'
import { runHere } from './run.ts'

const offered = async (...words: string[]): Promise<string[]> =>
  (await runHere(['__complete', '--', ...words])).out.split('\n').filter(line => line !== '')

test('commands, their second words, options, values of options and kinds are offered', async t => {
  t.deepEqual(await offered('da'), ['datastore'])
  t.deepEqual(await offered('datastore', ''), ['export', 'import', 'lock', 'unlock'])
  t.deepEqual(await offered('datastore', 'un'), ['unlock'])
  t.deepEqual(await offered('get', 'ippo'), ['ippools'])
  t.deepEqual(await offered('--context', 'x', 'get', 'ippo'), ['ippools'])
  t.deepEqual(await offered('get', '--sort'), ['--sort-by'])
  t.deepEqual(await offered('patch', 'ippool', 'p', '--type', 'str'), ['strategic'])
  t.deepEqual(await offered('apply', '-f', ''), [':files'])
  t.deepEqual(await offered('completion', 'f'), ['fish'])
  t.deepEqual(await offered('bgp', 'peers', '-o', 'open'), ['openconfig'])
  t.deepEqual(await offered('bgp', 'route', '-o', 'open'), [])
  t.deepEqual(await offered('__'), [])
})

test('names of objects come from the server, and nothing where it cannot be asked', async t => {
  const server = await startApiServer()
  t.teardown(() => server.close())
  const kubeconfig = kubeconfigFor(server)
  const manifest =
    'apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool-1}\nspec: {cidr: 10.1.0.0/16}\n'
  await runHere(['apply', '-f', '-', '--kubeconfig', kubeconfig], manifest)
  const names = await runHere(['__complete', '--kubeconfig', kubeconfig, '--', 'get', 'ippool', 'po'])
  t.deepEqual(names, { code: 0, out: 'pool-1\n', err: '' })
  const none = await runHere(['__complete', '--server', 'http://127.0.0.1:1', '--', 'get', 'ippool', ''])
  t.deepEqual(none, { code: 0, out: '', err: '' })
})

/** Runs a shell's script; skipped where the shell is not there. `margayctl` is on the PATH. */
function shellTest(shell: string, lines: readonly string[], check: (t: ExecutionContext, out: string) => void): void {
  test.serial(`${shell} completes the words of margayctl`, t => {
    const program = findSystemProgram(shell)
    if (program === undefined) {
      t.log(`skipped: no ${shell} here`)
      return t.pass()
    }
    const dir = mkdtempSync(join(tmpdir(), 'margay-completion-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const start = `#!/bin/sh\nexec ${process.execPath} ${programUnderTest('ctl/main')} "$@"\n`
    writeFileSync(join(dir, 'margayctl'), start, { mode: 0o755 })
    const env = { PATH: `${dir}:/usr/bin:/bin`, HOME: dir, TERM: 'dumb' }
    check(t, execFileSync(program, ['-c', lines.join('\n')], { env, encoding: 'utf8', cwd: dir }))
  })
}

shellTest(
  'bash',
  [
    'eval "$(margayctl completion bash)"',
    'COMP_WORDS=(margayctl get ippo); COMP_CWORD=2; _margayctl; printf "%s\\n" "$COMPREPLY"',
    'COMP_WORDS=(margayctl apply -f marg); COMP_CWORD=3; _margayctl; printf "%s\\n" "$COMPREPLY"',
    'complete -p margayctl',
  ],
  (t, out) => t.regex(out, /^ippools\nmargayctl\ncomplete .*-F _margayctl margayctl\n$/),
)

shellTest(
  'zsh',
  [
    'compdef() { echo "compdef $*"; }; compadd() { shift; echo "add $*"; }; _files() { echo files; }',
    'eval "$(margayctl completion zsh)"',
    'words=(margayctl get ippo); CURRENT=3; _margayctl',
    'words=(margayctl apply -f ""); CURRENT=4; _margayctl',
  ],
  (t, out) => t.is(out, 'compdef _margayctl margayctl\nadd ippools\nfiles\n'),
)

shellTest(
  'fish',
  ['margayctl completion fish | source', 'complete -C "margayctl get ippo"', 'complete -C "margayctl datastore un"'],
  (t, out) => t.is(out, 'ippools\nunlock\n'),
)
