// An export is a promise to other files. One that only tests take is no promise the program needs: test through what
// the program uses, or do not export.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { exportsOf, files, importsOf, isRelative, targetOf } from './source.ts'

/** Test doubles that live beside the port they stand in for, so that both change together. */
const doubles: readonly { part: string; why: string }[] = []

const isTest = (file: string) => file.startsWith('test/')

type Package = { exports: Record<string, string | { 'margay-source': string }> }

/** What packages that depend on Margay may import: every export of these files has a user. */
const published = Object.values(
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as Package).exports,
).flatMap(entry => (typeof entry === 'string' ? [] : [entry['margay-source'].replace('./', '')]))

const takenBy = new Map<string, Set<string>>()
for (const each of files.flatMap(importsOf).filter(isRelative))
  for (const name of each.names) {
    const key = `${targetOf(each)} ${name}`
    takenBy.set(key, (takenBy.get(key) ?? new Set()).add(each.file))
  }
const usersOf = (file: string, name: string) => [
  ...(takenBy.get(`${file} ${name}`) ?? []),
  ...(takenBy.get(`${file} *`) ?? []),
]

/** A type that a file's own declarations mention is part of their signatures: whoever uses them may need its name. */
const unneeded = files
  .filter(file => !isTest(file) && !published.includes(file))
  .flatMap(exportsOf)
  .filter(({ file, name, type, mentions }) => {
    if (usersOf(file, name).some(user => !isTest(user))) return false
    return !type || mentions === 0
  })

test('no export is there for tests alone, or for nobody', t => {
  const broken = unneeded.filter(({ file }) => !doubles.some(({ part }) => file.startsWith(part)))
  t.deepEqual(
    broken.map(({ file, name }) => `${file}: ${name}`),
    [],
  )
})

test('every test double in the list is still one', t => {
  t.deepEqual(
    doubles.filter(({ part }) => !unneeded.some(({ file }) => file.startsWith(part))),
    [],
  )
})
