// The import table of DESIGN section 3, enforced: which room may import which, and which packages stop at which room's
// border. Every `.ts` file of the project is read; type-only imports count too, since a type crosses a border as well.
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import test from 'ava'

const root = new URL('..', import.meta.url).pathname

type Rule = { rooms: readonly string[]; packages: readonly string[] }

/** What each room may import besides itself and `node:` modules. A room without a row may not exist. */
const rules: Readonly<Record<string, Rule>> = {
  lib: { rooms: [], packages: ['ipaddr.js', 'pino'] },
  api: { rooms: ['lib'], packages: ['ipaddr.js', 'zod'] },
  kernel: { rooms: ['lib'], packages: ['koffi', 'netlink'] },
  datastore: { rooms: ['lib', 'api'], packages: ['@kubernetes/client-node', 'yaml', 'zod'] },
  apiserver: { rooms: ['lib', 'api'], packages: ['commander', 'yaml', 'zod'] },
  ipam: { rooms: ['lib', 'api', 'datastore'], packages: ['zod'] },
  bgp: { rooms: ['lib'], packages: ['commander', 'yaml', 'zod'] },
  felix: { rooms: ['lib', 'api', 'kernel'], packages: ['zod'] },
  cni: { rooms: ['lib', 'api', 'kernel', 'ipam'], packages: ['commander', 'zod'] },
  agent: {
    rooms: ['lib', 'api', 'kernel', 'datastore', 'apiserver', 'ipam', 'bgp', 'felix', 'cni'],
    packages: ['commander', 'prom-client', 'zod'],
  },
  ctl: { rooms: ['lib', 'api', 'datastore', 'ipam'], packages: ['commander', 'yaml', 'zod'] },
  manifests: { rooms: ['lib', 'api'], packages: ['yaml', 'zod'] },
  lab: { rooms: ['lib', 'api', 'datastore', 'kernel'], packages: ['commander', 'yaml'] },
}

/** Files with a stricter rule than their room: what they may import, and nothing else. */
const strict: readonly { file: string; may: RegExp; why: string }[] = [
  { file: 'cni/plugin.ts', may: /^node:/, why: 'its start-up time is the delay of every pod' },
]

type Import = { file: string; specifier: string }

/** Static, dynamic, re-exporting and side-effect imports. Only the quoted name after the keyword matters. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8')
  const patterns = [
    /^\s*(?:import|export)\b(?:(?!^\s*(?:import|export)\b)[^'"`;])*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\b(?:import|require)\s*\(\s*['"]([^'"]+)['"]/g,
  ]
  return patterns.flatMap(pattern => [...text.matchAll(pattern)].map(match => ({ file, specifier: match[1]! })))
}

const files = globSync('**/*.{ts,mts,js,mjs}', { cwd: root, exclude: ['node_modules', '.git', '.cache'] })
const rooms = files.filter(file => file.includes('/') && !/^(test|bench)\//.test(file))
const inRooms = rooms.flatMap(importsOf)
const roomOf = (file: string) => file.split('/')[0]!
const packageOf = (specifier: string) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
const isRelative = ({ specifier }: Import) => specifier.startsWith('.')
const target = ({ file, specifier }: Import) => relative(root, join(root, dirname(file), specifier))
const shown = ({ file, specifier }: Import) => `${file} imports ${specifier}`

test('the scan sees the imports of this project', t => {
  t.true(inRooms.length > 20)
  t.true(inRooms.some(each => each.file === 'kernel/port/routes.ts' && each.specifier === '../../lib/ip.ts'))
})

test('every room has a row in the import table', t => {
  t.deepEqual(
    [...new Set(rooms.map(roomOf))].filter(room => rules[room] === undefined),
    [],
  )
})

test('a room imports only itself and the rooms that its row names', t => {
  const broken = inRooms.filter(isRelative).filter(each => {
    const from = roomOf(each.file)
    const to = roomOf(target(each))
    return from !== to && rules[from]?.rooms.includes(to) !== true
  })
  t.deepEqual(broken.map(shown), [])
})

test('a package is imported only by the rooms that may', t => {
  const broken = inRooms
    .filter(each => !isRelative(each) && !each.specifier.startsWith('node:'))
    .filter(each => rules[roomOf(each.file)]?.packages.includes(packageOf(each.specifier)) !== true)
  t.deepEqual(broken.map(shown), [])
})

test('nobody imports test/ or bench/ from outside of them', t => {
  const broken = inRooms.filter(each => isRelative(each) && /^(test|bench)\//.test(target(each)))
  t.deepEqual(broken.map(shown), [])
})

for (const { file, may, why } of strict)
  test(`${file} imports only what matches ${may}: ${why}`, t => {
    t.deepEqual(
      files
        .filter(each => each === file)
        .flatMap(importsOf)
        .filter(each => !may.test(each.specifier))
        .map(shown),
      [],
    )
  })

test('bgp/ opens sockets in one file', t => {
  const users = inRooms.filter(({ file, specifier }) => roomOf(file) === 'bgp' && specifier === 'node:net')
  t.true(new Set(users.map(({ file }) => file)).size <= 1, users.map(shown).join(', '))
})

test('koffi, which binds the C library, is imported by kernel/libc.ts alone', t => {
  const users = inRooms.filter(({ specifier }) => specifier === 'koffi').map(({ file }) => file)
  t.deepEqual(users, ['kernel/libc.ts'])
})
