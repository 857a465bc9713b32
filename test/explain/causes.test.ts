// The table of causes and its document.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { CAUSES } from '../../explain/causes.ts'
import { explainText } from '../../manifests/explain.ts'

const root = new URL('../../', import.meta.url).pathname

test('docs/explain.md says what the table of causes says', t => {
  t.is(readFileSync(`${root}docs/explain.md`, 'utf8'), explainText(), 'npm run manifests writes it')
})

test('every cause has a heading of its own, to which its page leads', t => {
  const text = explainText()
  for (const code of Object.keys(CAUSES)) t.true(text.includes(`\n### ${code}\n`), code)
})
