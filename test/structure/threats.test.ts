// docs/threats.md and docs/ipam.md name the test that shows each of their claims: every one exists, and is used.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { files, textOf } from './source.ts'

for (const [name, atLeast] of [
  ['threats.md', 50],
  ['ipam.md', 30],
] as const) {
  const text = readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')
  const shown = [...text.matchAll(/^- ([A-Z]\d*) `(test\/[^`]+)`: "(.+)"$/gm)].map(([, mark, file, title]) => {
    return { mark: mark!, file: file!, title: title! }
  })

  test(`every test that docs/${name} names exists, file and title`, t => {
    t.true(shown.length > atLeast)
    const missing = shown.filter(({ file, title }) => !files.includes(file) || !textOf(file).includes(title))
    t.deepEqual(missing, [])
  })

  test(`every row of docs/${name} names its tests, and every test that is listed there belongs to a row`, t => {
    // the tables without that column are about something else
    const tables = text.split(/\n\n/).filter(part => / shown by \|\n/.test(part))
    const rows = tables.flatMap(table =>
      table
        .split('\n')
        .filter(line => line.startsWith('| '))
        .slice(1),
    )
    const marks = rows.map(row => row.split(' | ').at(-1)!.replace(/ \|$/, '').split(', '))
    t.deepEqual([...new Set(marks.flat())].toSorted(), shown.map(({ mark }) => mark).toSorted())
  })
}
