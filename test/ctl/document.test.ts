import { readFileSync } from 'node:fs'
import test from 'ava'
import { commands } from '../../ctl/commands.ts'
import { documentText } from '../../ctl/document.ts'
import { runHere } from './run.ts'

test('docs/margayctl.md says what the table of commands says', t => {
  const written = readFileSync(new URL('../../docs/margayctl.md', import.meta.url), 'utf8')
  t.is(written, documentText(), 'run npm run manifests')
})

test('each command has a help text with each of its options', async t => {
  for (const { name, summary, options } of commands) {
    const { code, out } = await runHere([...name.split(' '), '--help'])
    t.is(code, 0, name)
    t.true(out.replace(/\s+/g, ' ').includes(summary.replace(/\s+/g, ' ')), name)
    for (const { flags } of options) t.true(out.includes(flags), `${name} ${flags}`)
  }
})

test('the help of the program names every command but those for programs alone', async t => {
  const { out } = await runHere(['--help'])
  for (const { name, hidden } of commands) t.is(out.includes(`\n  ${name.split(' ')[0]} `), hidden !== true, name)
})
