import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import test from 'ava'
import { layerEntries } from '../../image/base.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { type TarEntry, tarArchive } from '../../lib/tar.ts'

const tar = (words: readonly string[], input: Uint8Array): Buffer =>
  execFileSync(systemProgram('tar'), words, { input, env: { TZ: 'UTC' }, maxBuffer: 1 << 26 })
const file = (path: string, content: Uint8Array | string = '', mode = 0o644): TarEntry => ({
  path,
  content: Buffer.from(content),
  mode,
})

test('the tar of the system reads modes, owner, time and size as they were given', t => {
  const archive = tarArchive([
    { path: 'tmp', mode: 0o1777 },
    file('usr/bin/node', 'x'.repeat(513), 0o755),
    file('etc/passwd'),
  ])
  const lines = tar(['-tv', '--numeric-owner', '-f', '-'], archive).toString().trim().split('\n')
  t.deepEqual(
    lines.map(line => line.replace(/\s+/g, ' ')),
    [
      'drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/',
      '-rwxr-xr-x 0/0 513 1970-01-01 00:00 usr/bin/node',
      '-rw-r--r-- 0/0 0 1970-01-01 00:00 etc/passwd',
    ],
  )
})

test('contents of every length around a block come back as they were', t => {
  for (const size of [0, 1, 511, 512, 513, 1024, 100_000]) {
    const content = randomBytes(size)
    const archive = tarArchive([file('before', 'b'), file('it', content), file('after', 'a')])
    t.deepEqual(tar(['-xOf', '-', 'it'], archive), content, `${size}`)
    t.is(tar(['-xOf', '-', 'after'], archive).toString(), 'a')
  }
})

test('a path of up to 256 octets is kept whole, and a longer one or one of other letters is refused', t => {
  for (const path of [
    `${'d'.repeat(120)}/${'n'.repeat(99)}`,
    `${'d/'.repeat(60)}name`,
    `${'d'.repeat(155)}/${'n'.repeat(100)}`,
  ])
    t.is(tar(['-tf', '-'], tarArchive([file(path)])).toString(), `${path}\n`)
  for (const path of ['n'.repeat(101), `${'d'.repeat(156)}/n`, `d/${'n'.repeat(101)}`, '/etc/passwd', 'a b', 'ä', ''])
    t.throws(() => tarArchive([file(path)]), { message: /path|too long/ }, path)
})

test('a layer holds each folder once, before what is in it, whatever the order of its files', t => {
  const files = [file('usr/share/doc/a'), file('etc/b'), file('usr/bin/node'), { path: 'tmp', mode: 0o1777 }]
  const paths = (entries: readonly TarEntry[]) => entries.map(({ path }) => path)
  t.deepEqual(paths(layerEntries(files)), [
    ...['etc', 'etc/b', 'tmp', 'usr', 'usr/bin', 'usr/bin/node', 'usr/share', 'usr/share/doc', 'usr/share/doc/a'],
  ])
  t.deepEqual(layerEntries(files.toReversed()), layerEntries(files))
})
