// The chart as Helm itself reads it: what it renders with each of its values, and which values it refuses. Without Helm the
// tests are skipped. On a real API server: kubectl.test.ts.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { parse, parseAllDocuments } from 'yaml'
import { helmProblem, runHelm } from './helm-program.ts'

const at = (name: string) => fileURLToPath(new URL(`../../manifests/${name}`, import.meta.url))
const textOf = (name: string) => readFileSync(at(name), 'utf8')
type Values = { [name: string]: unknown }
const withValues = (args: readonly string[], values: Values) => runHelm([...args, '--values', '-'], values)

/** For the oldest Kubernetes that the chart is for: a Helm from `go install` takes itself to be for a much older one. */
const template = (values: Values, ...more: string[]) => {
  const place = ['--namespace', 'kube-system', '--kube-version', '1.31.0']
  return withValues(['template', 'margay', at('chart'), ...place, ...more], values)
}

type ObjectHead = { kind: string; metadata: { name: string } }
const keyOf = ({ kind, metadata }: ObjectHead) => `${kind} ${metadata.name}`

/** Objects by kind and name. */
function objectsOf(text: string): Record<string, ObjectHead> {
  const objects = parseAllDocuments(text).flatMap(each => (each.toJS() as ObjectHead | null) ?? [])
  return Object.fromEntries(objects.map(object => [keyOf(object), object]))
}

async function rendered(t: ExecutionContext, values: Values, ...more: string[]): Promise<Record<string, ObjectHead>> {
  const { code, stdout, said } = await template(values, ...more)
  t.is(code, 0, said)
  return objectsOf(stdout)
}

function withHelm(title: string, run: (t: ExecutionContext) => Promise<void>): void {
  test(title, async t => {
    t.timeout(120_000)
    if (helmProblem === undefined) return await run(t)
    t.log(`skipped: ${helmProblem}`)
    return t.pass()
  })
}

withHelm('Helm finds nothing to say against the chart, however it is set', async t => {
  for (const values of [{}, { remove: true }, { calicoCrds: true, pools: [A_POOL] }]) {
    const { code, said } = await withValues(['lint', '--strict', at('chart')], values)
    t.is(code, 0, said)
    t.notRegex(said, /WARNING|ERROR/)
  }
})

withHelm('Helm renders what margay.yaml has, and for the removal what remove.yaml has', async t => {
  const installed = objectsOf(textOf('margay.yaml'))
  t.deepEqual(await rendered(t, {}, '--include-crds'), installed)
  const others = Object.entries(installed).filter(([key]) => !/^(CustomResourceDefinition|DaemonSet) /.test(key))
  t.deepEqual(await rendered(t, { remove: true }), {
    ...Object.fromEntries(others),
    ...objectsOf(textOf('remove.yaml')),
  })
})

const A_POOL = { name: 'first', spec: { blockSize: 27, cidr: '10.9.0.0/16', natOutgoing: true } }
/** What no reader of YAML may take for something else. */
const ODD = 'interface=^e"th\\d+: \'#{{x}}'

/**
 * For each value of the chart another one, what of the objects then has it (or what is said of it), and values that are
 * refused.
 */
const VALUES: Readonly<Record<string, { other: unknown; seen?: string; refused: readonly unknown[] }>> = {
  image: { other: 'registry.example:5000/margay@sha256:00', refused: ['', 7] },
  imagePullPolicy: { other: 'Never', refused: ['Sometimes'] },
  'cni.binDir': { other: '/usr/libexec/cni "x"', refused: ['opt/cni/bin', ''] },
  'cni.confDir': { other: '/etc/cni/x', refused: ['etc/cni'] },
  'cni.confName': { other: '05-pods.conflist', refused: ['10-margay.conf', '../x.conflist'] },
  calicoCrds: { other: true, seen: '"crd.projectcalico.org"', refused: ['yes'] },
  maxUnavailable: { other: '33%', refused: [1, '1', '%'] },
  'controllers.replicas': { other: 3, seen: '"replicas":3', refused: [0, 6, '2', 1.5] },
  'config.nodeIp': { other: ODD, refused: ['', 4] },
  'config.nodeIp6': { other: ODD, refused: ['', false] },
  'config.firstPools': { other: '10.9.0.0/16,fd00::/48', refused: [''] },
  'config.logLevel': { other: 'debug', refused: ['loud'] },
  'config.network': { other: ODD, refused: [''] },
  'config.chainedPlugins': { other: 'bandwidth', refused: ['tuning', ''] },
  'config.besideOtherNetworks': { other: 'yes', refused: [true, 'maybe'] },
  'apiServer.host': { other: 'api.example', refused: [4] },
  'apiServer.port': { other: 6443, seen: '"apiServerPort":"6443"', refused: ['https', 1.5] },
  pools: {
    other: [A_POOL],
    seen: JSON.stringify(A_POOL.spec),
    refused: [{}, ['10.9.0.0/16'], [{ name: 'x' }], [{ name: 'x', spec: {} }], [{ ...A_POOL, cidr: 'x' }]],
  },
  remove: { other: true, seen: '"--whole-cluster"', refused: ['yes'] },
}

/** Values that more than one object has; those of `calicoCrds` are rights, the configuration and the CRDs of Margay's own kinds. */
const MORE_OBJECTS: Readonly<Record<string, number>> = { image: 3, imagePullPolicy: 3, calicoCrds: 5 }

/** The paths of all values that are no group of values. */
function pathsIn(values: Values, above = ''): string[] {
  return Object.entries(values).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? pathsIn(value as Values, `${above}${name}.`)
      : [above + name],
  )
}

function setTo(path: string, value: unknown): Values {
  return path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Values
}

withHelm('each value of the chart comes to where it belongs as it was written, and changes nothing else', async t => {
  t.deepEqual(Object.keys(VALUES), pathsIn(parse(textOf('chart/values.yaml'))))
  const usual = await rendered(t, {})
  for (const [path, { other, seen = JSON.stringify(other) }] of Object.entries(VALUES)) {
    const now = await rendered(t, setTo(path, other))
    const changed = Object.entries(now).filter(([key, object]) => JSON.stringify(usual[key]) !== JSON.stringify(object))
    t.true(JSON.stringify(changed).includes(seen), `${path}: ${JSON.stringify(changed).slice(0, 300)}`)
    if (path === 'remove') continue
    t.true(changed.length <= (MORE_OBJECTS[path] ?? 1), path)
    t.deepEqual(
      Object.keys(usual).filter(key => now[key] === undefined),
      [],
      path,
    )
  }
})

withHelm('Helm refuses a value that cannot be, and a name that is no value’s, and says which', async t => {
  const wrong = Object.entries(VALUES).flatMap(([path, { refused }]) => refused.map(value => [path, value] as const))
  for (const [path, value] of [...wrong, ['imagee', 'x'], ['cni.bin', '/x'], ['config.apiGroup', 'v1']] as const) {
    const { code, said } = await template(setTo(path, value))
    t.is(code, 1, `${path} ${JSON.stringify(value)}`)
    const [last = '', ...above] = path.split('.').reverse()
    for (const name of [last, ...above]) t.true(said.includes(name), `${path}: ${said}`)
    t.regex(said, /values don't meet the specifications of the schema/)
  }
})
