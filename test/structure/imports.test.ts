// The import table of DESIGN section 3, enforced: which room may import which, what holds inside a room, and which
// packages stop at which room's border. Type-only imports count too, since a type crosses a border as well.
import test from 'ava'
import { files, type Import, importsOf, isRelative, shown, targetOf } from './source.ts'

type Rule = { rooms: readonly string[]; packages: readonly string[] }

/** What each room may import besides itself and `node:` modules. A room without a row may not exist. */
const rules: Readonly<Record<string, Rule>> = {
  lib: { rooms: [], packages: ['ipaddr.js', 'pino'] },
  api: { rooms: ['lib'], packages: ['zod'] },
  explain: { rooms: ['lib', 'api'], packages: [] },
  kernel: { rooms: ['lib'], packages: ['koffi', 'netlink'] },
  datastore: { rooms: ['lib', 'api'], packages: ['@kubernetes/client-node', 'yaml'] },
  apiserver: { rooms: ['lib', 'api'], packages: ['commander', 'yaml', 'zod'] },
  ipam: { rooms: ['lib', 'api', 'datastore'], packages: [] },
  bgp: { rooms: ['lib'], packages: ['yaml', 'zod'] },
  felix: { rooms: ['lib', 'api', 'kernel'], packages: [] },
  cni: { rooms: ['lib', 'api', 'kernel', 'ipam'], packages: [] },
  agent: {
    rooms: ['lib', 'api', 'kernel', 'datastore', 'ipam', 'bgp', 'felix', 'cni'],
    packages: ['commander'],
  },
  controllers: { rooms: ['lib', 'api', 'datastore', 'ipam'], packages: ['commander', 'yaml'] },
  ui: { rooms: ['lib', 'api'], packages: ['esbuild', 'graphology', 'sigma', 'zod'] },
  ctl: { rooms: ['lib', 'api', 'explain', 'datastore', 'ipam', 'agent', 'ui'], packages: ['commander', 'yaml', 'zod'] },
  image: { rooms: ['lib', 'cni', 'ui'], packages: ['commander', 'esbuild'] },
  manifests: { rooms: ['lib', 'api', 'explain', 'cni'], packages: ['yaml'] },
  lab: { rooms: ['lib', 'api', 'datastore', 'kernel', 'image'], packages: ['esbuild'] },
}

/**
 * Inside a room: files below `part` (a folder with its slash, or a file) import nothing of the project but what begins
 * with one of `may`.
 */
type PartRule = { part: string; may: readonly string[]; why: string }

const parts: readonly PartRule[] = [
  {
    part: 'cni/',
    may: [
      'lib/',
      'api/status.ts',
      'api/address-annotations.ts',
      'ipam/port.ts',
      'kernel/port/',
      'kernel/pod-interface.ts',
    ],
    why: 'the verbs see the kernel and IPAM through ports',
  },
  { part: 'kernel/port/', may: ['lib/'], why: 'the port promises, and knows no kernel' },
  {
    part: 'kernel/netlink/',
    may: ['lib/', 'kernel/port/', 'kernel/libc.ts'],
    why: 'codecs and sockets lie below both kernels',
  },
  {
    part: 'kernel/fake/',
    may: ['lib/', 'kernel/port/', 'kernel/netlink/'],
    why: 'the fake cannot reach the real kernel',
  },
  {
    part: 'kernel/reconcile/',
    may: ['lib/', 'kernel/port/', 'kernel/pod-interface.ts'],
    why: 'reconcilers see a kernel through the port',
  },
  { part: 'kernel/pod-interface.ts', may: ['lib/', 'kernel/port/'], why: 'a description is a value' },
  {
    part: 'felix/calc/',
    may: [
      'lib/',
      'api/status.ts',
      'kernel/port/',
      'kernel/pod-interface.ts',
      'kernel/reconcile/objects.ts',
      'felix/input.ts',
      'felix/desired.ts',
    ],
    why: 'the calculation is pure',
  },
  { part: 'felix/dns/', may: ['lib/'], why: 'answers are octets of anybody, and nothing more' },
  {
    part: 'felix/policy/',
    may: [
      'lib/',
      'api/explain.ts',
      'api/status.ts',
      'api/selector.ts',
      'api/policy-receipts.ts',
      'kernel/port/',
      'kernel/pod-interface.ts',
      'kernel/reconcile/nft-state.ts',
      'kernel/reconcile/objects.ts',
      'felix/calc/nft-expressions.ts',
    ],
    why: 'policy to rules is pure',
  },
  {
    part: 'agent/cluster/',
    may: [
      'lib/',
      'api/',
      'felix/input.ts',
      'felix/policy/model.ts',
      'kernel/pod-interface.ts',
      'bgp/family.ts',
      'bgp/config.ts',
      'bgp/change.ts',
      'bgp/policy.ts',
    ],
    why: 'objects to wishes is pure',
  },
  ...['plan', 'paths', 'verdict'].map(name => ({
    part: `agent/probes/${name}.ts`,
    may: ['lib/', 'api/', 'agent/probes/plan.ts', 'agent/probes/verdict.ts'],
    why: 'what is sent when, and what silence means, is pure',
  })),
  {
    part: 'ctl/',
    may: ['lib/', 'api/', 'explain/', 'datastore/', 'ipam/', 'agent/cluster/', 'agent/simulation/', 'ui/'],
    why: 'of the agent it knows what objects mean, and what they would do on paper',
  },
  {
    part: 'ui/pages/',
    may: ['api/answers.ts', 'api/explanation.ts', 'ui/model.ts', 'ui/layout.ts', 'ui/history.ts'],
    why: 'a browser runs it',
  },
  {
    part: 'manifests/',
    may: ['lib/', 'api/', 'explain/causes.ts', 'cni/capabilities.ts', 'cni/error.ts', 'cni/keys.ts'],
    why: 'documents are written from tables',
  },
  { part: 'agent/recorder/segment.ts', may: [], why: 'how records lie in a file is a matter of octets' },
  { part: 'agent/recorder/floods.ts', may: ['api/'], why: 'which changes are kept is a matter of time and number' },
  { part: 'bgp/family.ts', may: ['lib/', 'bgp/wire/'], why: 'everything in bgp/ stands on it and on the codecs' },
  { part: 'bgp/wire/', may: ['lib/', 'bgp/family.ts'], why: 'codecs know bytes only' },
  { part: 'bgp/fsm/', may: ['lib/', 'bgp/wire/', 'bgp/family.ts', 'bgp/config.ts'], why: 'the state machine is pure' },
  { part: 'bgp/bfd/', may: ['lib/'], why: 'BFD serves other protocols than BGP as well, and knows none' },
  {
    part: 'bgp/bfd/step.ts',
    may: ['bgp/bfd/packet.ts', 'bgp/bfd/state.ts', 'bgp/bfd/timers.ts'],
    why: 'the state machine is pure',
  },
  {
    part: 'bgp/rib/store/',
    may: ['lib/', 'bgp/wire/', 'bgp/family.ts', 'bgp/config.ts', 'bgp/rib/types.ts'],
    why: 'stores lie below both sides of the RIB',
  },
  {
    part: 'bgp/rib/in/',
    may: [
      'lib/',
      'bgp/wire/',
      'bgp/family.ts',
      'bgp/config.ts',
      'bgp/policy.ts',
      'bgp/rib/store/',
      'bgp/rib/types.ts',
      'bgp/rib/peer-state.ts',
      'bgp/rib/next-hop.ts',
      'bgp/rib/speaker-numbers.ts',
    ],
    why: 'what comes in knows nothing of what goes out',
  },
  {
    part: 'bgp/rib/out/',
    may: [
      'lib/',
      'bgp/wire/',
      'bgp/family.ts',
      'bgp/config.ts',
      'bgp/policy.ts',
      'bgp/rib/store/',
      'bgp/rib/types.ts',
      'bgp/rib/peer-state.ts',
      'bgp/rib/next-hop.ts',
      'bgp/rib/speaker-numbers.ts',
    ],
    why: 'what goes out knows nothing of what comes in',
  },
]

/** Files that compose a program: only the named files import them. */
const roots: Readonly<Record<string, readonly string[]>> = {
  'agent/main.ts': [],
  'agent/margay-bgp.ts': [],
  'agent/bfd-worker.ts': [],
  'agent/run.ts': ['agent/main.ts'],
  'agent/node-agent.ts': ['agent/run.ts'],
  'controllers/main.ts': [],
  'controllers/run.ts': ['controllers/main.ts'],
  'apiserver/main.ts': [],
  'ctl/main.ts': [],
  'lab/main.ts': [],
}

const rooms = files.filter(file => file.includes('/') && !/^(test|bench)\//.test(file))
const inRooms = rooms.flatMap(importsOf)
const roomOf = (file: string) => file.split('/')[0]!
const packageOf = (specifier: string) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
const isPackage = (each: Import) => !isRelative(each) && !each.specifier.startsWith('node:')
const isBelow = (file: string, part: string) => (part.endsWith('/') ? file.startsWith(part) : file === part)

test('every relative import names a file of this project', t => {
  const broken = files
    .flatMap(importsOf)
    .filter(isRelative)
    .filter(each => !files.includes(targetOf(each)))
  t.true(inRooms.filter(isRelative).length > 500)
  t.deepEqual(broken.filter(each => !targetOf(each).endsWith('.json')).map(shown), [])
})

test('every room has a row in the import table, and every row has a room', t => {
  t.deepEqual([...new Set(rooms.map(roomOf))].toSorted(), Object.keys(rules).toSorted())
})

test('a room imports only itself and the rooms that its row names', t => {
  const broken = inRooms.filter(isRelative).filter(each => {
    const from = roomOf(each.file)
    const to = roomOf(targetOf(each))
    return from !== to && rules[from]?.rooms.includes(to) !== true
  })
  t.deepEqual(broken.map(shown), [])
})

test('a package is imported only by the rooms that may', t => {
  const broken = inRooms
    .filter(isPackage)
    .filter(each => rules[roomOf(each.file)]?.packages.includes(packageOf(each.specifier)) !== true)
  t.deepEqual(broken.map(shown), [])
})

test('every permission of the import table is used', t => {
  const used = new Set(
    inRooms.map(
      each => `${roomOf(each.file)} ${isRelative(each) ? roomOf(targetOf(each)) : packageOf(each.specifier)}`,
    ),
  )
  const given = Object.entries(rules).flatMap(([room, rule]) =>
    [...rule.rooms, ...rule.packages].map(name => `${room} ${name}`),
  )
  t.deepEqual(
    given.filter(permission => !used.has(permission)),
    [],
  )
})

test('nobody imports test/ or bench/ from outside of them', t => {
  const broken = inRooms.filter(each => isRelative(each) && /^(test|bench)\//.test(targetOf(each)))
  t.deepEqual(broken.map(shown), [])
})

for (const { part, may, why } of parts)
  test(`${part} imports only ${['itself', ...may].join(', ')}: ${why}`, t => {
    const inside = rooms.filter(file => isBelow(file, part))
    t.true(inside.length > 0, `there is no ${part}: was it renamed?`)
    const broken = inside
      .flatMap(importsOf)
      .filter(each =>
        isRelative(each)
          ? !isBelow(targetOf(each), part) && !may.some(allowed => targetOf(each).startsWith(allowed))
          : may.length === 0 && isPackage(each),
      )
    t.deepEqual(broken.map(shown), [])
  })

test('only a program imports what composes one', t => {
  t.deepEqual(
    Object.keys(roots).filter(file => !files.includes(file)),
    [],
  )
  const broken = inRooms.filter(isRelative).filter(each => roots[targetOf(each)]?.includes(each.file) === false)
  t.deepEqual(broken.map(shown), [])
})

test('no file imports itself through others, types included', t => {
  const graph = new Map(
    files.map(file => [
      file,
      new Set(
        importsOf(file)
          .filter(isRelative)
          .map(targetOf)
          .filter(to => files.includes(to)),
      ),
    ]),
  )
  t.deepEqual(
    circles(graph).map(circle => circle.join(' - ')),
    [],
  )
})

test('bgp/ opens sockets in one file', t => {
  const users = inRooms.filter(({ file, specifier }) => roomOf(file) === 'bgp' && specifier === 'node:net')
  t.is(new Set(users.map(({ file }) => file)).size, 1, users.map(shown).join(', '))
})

/** Every set of files of which each imports, by way of others, all the rest and itself. */
function circles(graph: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const reaches = (from: string): Set<string> => {
    const seen = new Set<string>()
    const todo = [...graph.get(from)!]
    for (let file = todo.pop(); file !== undefined; file = todo.pop()) {
      if (seen.has(file)) continue
      seen.add(file)
      todo.push(...graph.get(file)!)
    }
    return seen
  }
  const reached = new Map([...graph.keys()].map(file => [file, reaches(file)]))
  const inCircle = [...reached].filter(([file, seen]) => seen.has(file)).map(([file]) => file)
  const parts = new Map<string, string[]>()
  for (const file of inCircle) {
    const part = inCircle.filter(other => reached.get(file)!.has(other) && reached.get(other)!.has(file))
    parts.set(part.join(' '), part)
  }
  return [...parts.values()]
}
