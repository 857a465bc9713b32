// docs/bgp.md has the table of reasons as the code has it.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { DOWN_REASONS } from '../../bgp/down-reasons.ts'

test('docs/bgp.md has every reason why a peer is not up, with its remedy', t => {
  const text = readFileSync(new URL('../../docs/bgp.md', import.meta.url), 'utf8')
  const [, section = ''] = text.split('\n## Why a session is not up\n')
  const rows = section.split('\n## ')[0]!.match(/^\| <a id=.*$/gm)
  t.deepEqual(
    rows,
    Object.entries(DOWN_REASONS).map(
      ([code, { when, remedy }]) => `| <a id="down-${code}"></a>\`${code}\` | ${when} | ${remedy} |`,
    ),
  )
})
