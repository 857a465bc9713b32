// What an operator applies: the files are what the code gives, and ask for no more than it needs.
import { execFile as execFileOf } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { parse, parseAllDocuments } from 'yaml'
import { Unenforced } from '../../agent/unenforced.ts'
import { ManualClock } from '../../lib/clock.ts'
import { crdObjects } from '../../manifests/crds.ts'
import { manifestFiles } from '../../manifests/installation.ts'
import { CAPABILITIES } from '../../manifests/node.ts'
import { RIGHTS, type Right } from '../../manifests/rights.ts'
import { files, textOf } from '../structure/source.ts'
import { filesOf, rightsOf } from './code-rights.ts'

/** By path below manifests/; making them takes a moment. */
const made = manifestFiles()
const execFile = promisify(execFileOf)
const ROOT = new URL('../../', import.meta.url).pathname
const FOLDER = new URL('../../manifests/', import.meta.url)
// biome-ignore lint/suspicious/noExplicitAny: objects of Kubernetes as a reader of YAML has them
type Any = any
const objectsIn = (name: string): Any[] => parseAllDocuments(made.get(name)!).map(document => document.toJS())
const objects = objectsIn('margay.yaml')
const podOf = (kind: string, among = objects): Any => among.find(each => each.kind === kind).spec.template.spec

test('every file of manifests/ that the code gives is committed as it gives it, and there is no other YAML', t => {
  for (const [name, text] of made)
    t.is(readFileSync(new URL(name, FOLDER), 'utf8'), text, `${name}: run npm run manifests`)
  const yaml = globSync('**/*.yaml', { cwd: FOLDER.pathname }).toSorted()
  t.deepEqual(yaml, [...made.keys()].filter(name => name.endsWith('.yaml')).toSorted())
})

test('the removal looks into the folders of the host that the installation of each overlay wrote into', t => {
  const folders = (volumes: Any[]) =>
    volumes.filter(({ name }) => /^cni-/.test(name)).map(({ name, hostPath: { path } }) => `${name} ${path}`)
  const removed = (name: string) => folders(podOf('DaemonSet', objectsIn(name)).volumes)
  t.deepEqual(removed('remove.yaml'), folders(podOf('DaemonSet').volumes))
  const patched = [...made.keys()].flatMap(name => {
    const overlay = /^(overlays\/[^/]+\/)kustomization\.yaml$/.exec(name)?.[1]
    const patches: Any[] = overlay === undefined ? [] : (parse(made.get(name)!).patches ?? [])
    const patch = patches.find(({ target }) => target.kind === 'DaemonSet')
    return patch === undefined ? [] : [{ overlay, volumes: parse(patch.patch).spec.template.spec.volumes as Any[] }]
  })
  t.deepEqual(
    patched.map(({ overlay }) => overlay),
    ['overlays/k3s/', 'overlays/microk8s/'],
  )
  for (const { overlay, volumes } of patched) t.deepEqual(removed(`${overlay}remove.yaml`), folders(volumes), overlay)
})

test('YAML 1.1, which kubectl reads, gives the same objects as YAML 1.2', t => {
  for (const [name, text] of made) {
    // templates are no YAML yet, and the CRDs are in margay.yaml as well
    if (!name.endsWith('.yaml') || /^(chart\/(templates|crds)|base|crds)/.test(name)) continue
    const [old, now] = (['1.1', '1.2'] as const).map(version =>
      parseAllDocuments(text, { version }).map(document => document.toJS()),
    )
    t.deepEqual(old, now, name)
  }
})

function shown(rights: readonly Right[]): string[] {
  return rights.flatMap(({ group, resource, verbs }) => verbs.map(verb => `${group}/${resource} ${verb}`)).toSorted()
}

/** What the agent counts: the table that it reads for that is its own. */
async function countedByAgent(): Promise<string[]> {
  const asked: string[] = []
  const clock = new ManualClock()
  const count = async ({ group, plural }: { group: string; plural: string }) => {
    asked.push(`${group}/${plural} list`)
    return undefined
  }
  const unenforced = new Unenforced({ store: { count }, clock, nodes: () => 1, report: () => undefined })
  unenforced.start()
  clock.advance(30_000)
  for (let turn = 0; turn < 100; turn++) await undefined
  unenforced.close()
  return [...new Set(asked)]
}

/** Of the Secrets that BGPPeers and BGPConfiguration name, by a Role that whoever makes them makes too (docs/bgp.md). */
const GIVEN_BY_NAME = ['/secrets list', '/secrets watch']

test('the rights of the agent are the calls in its code, and no others; it reads no Secret but those of a Role for them alone', async t => {
  t.deepEqual(
    [...shown(RIGHTS.node), ...GIVEN_BY_NAME].toSorted(),
    [...rightsOf('agent/run.ts'), ...(await countedByAgent())].toSorted(),
  )
  for (const name of ['margay.yaml', 'remove.yaml']) t.false(/resources:[^:]*\bsecrets\b/.test(made.get(name)!), name)
})

test('the rights of the removal are the calls in its code, and no others', t => {
  t.deepEqual(shown(RIGHTS.remove), rightsOf('agent/remove.ts'))
  const rules: Any[] = objectsIn('remove.yaml').find(({ kind }) => kind === 'ClusterRole').rules
  const of = (group: string) => rules.filter(({ apiGroups }) => apiGroups[0] === group).flatMap(each => each.resources)
  t.deepEqual(of('crd.projectcalico.org'), of('projectcalico.org'))
})

const withControllers = files.includes('controllers/run.ts') ? test : test.skip
withControllers('the rights of the controllers are the calls in their code, and no others', t => {
  t.deepEqual(shown(RIGHTS.controllers), rightsOf('controllers/run.ts'))
})

test('no program calls a store with a kind that is not written at the call, but for the files that serve every kind', t => {
  const unnamed =
    /\b(?:\w*[sS]tore|#store)\s*\.(?:get|list|pages|create|update|updateStatus|patch|delete|watch)(?:<[^>]*>)?\(\s*(?!'[A-Z])/
  const roots = [
    'agent/run.ts',
    'agent/remove.ts',
    ...(files.includes('controllers/run.ts') ? ['controllers/run.ts'] : []),
  ]
  const found = new Set(roots.flatMap(filesOf).filter(file => unnamed.test(textOf(file))))
  // the kinds of the first are a list, which is read
  const known = ['controllers/policy-statuses.ts', 'datastore/guarded.ts', 'datastore/kind-cache.ts']
  t.deepEqual([...found].toSorted(), known)
})

test('no container is privileged or can write its root; every capability and volume of the node has its reason in the YAML', t => {
  const pods = [podOf('DaemonSet'), podOf('Deployment'), podOf('DaemonSet', objectsIn('remove.yaml'))]
  for (const pod of pods) {
    t.is(pod.securityContext.seccompProfile.type, 'RuntimeDefault')
    t.false(pod.automountServiceAccountToken)
    t.falsy(pod.hostPID || pod.hostIPC)
    for (const { securityContext } of [...(pod.initContainers ?? []), ...pod.containers]) {
      t.falsy(securityContext.privileged)
      t.true(securityContext.readOnlyRootFilesystem)
      t.deepEqual(securityContext.capabilities.drop, ['ALL'])
    }
  }
  const text = made.get('margay.yaml')!
  for (const [name, why] of Object.entries(CAPABILITIES))
    t.regex(text, new RegExp(`# ${why.replace(/[()]/g, '\\$&')}\n +- ${name}\n`))
  const [node] = pods
  for (const { name } of node.volumes) t.regex(text, new RegExp(`# .+\n +- name: ${name}\n`))
})

test('the folder of plugins is mounted by the init container alone, and the token by the agent alone', t => {
  const { initContainers, containers } = podOf('DaemonSet')
  const mounts = ({ volumeMounts }: Any) => volumeMounts.map(({ name }: Any) => name)
  t.deepEqual(mounts(initContainers[0]), ['cni-bin', 'cni-conf'])
  t.false(mounts(containers[0]).includes('cni-bin'))
  t.true(mounts(containers[0]).includes('token'))
})

test('every volume that a container mounts is there, every volume is mounted, and every key of the ConfigMap is used', t => {
  for (const pod of [podOf('DaemonSet'), podOf('Deployment')]) {
    const containers = [...(pod.initContainers ?? []), ...pod.containers]
    const mounted = new Set(containers.flatMap(({ volumeMounts }: Any) => volumeMounts.map(({ name }: Any) => name)))
    t.deepEqual([...mounted].toSorted(), pod.volumes.map(({ name }: Any) => name).toSorted())
  }
  const text = JSON.stringify(objects.filter(({ kind }) => kind !== 'ConfigMap'))
  for (const key of Object.keys(objects.find(({ kind }) => kind === 'ConfigMap').data))
    t.true(text.includes(`"key":"${key}"`), key)
})

test('every overlay stands on the base, and its patches name volumes that are there', t => {
  const volumes = podOf('DaemonSet').volumes.map(({ name }: Any) => name)
  const overlays = [...made].filter(([name]) => /^overlays\/.*\/kustomization\.yaml$/.test(name))
  t.true(overlays.length >= 5)
  for (const [name, text] of overlays) {
    const { resources, patches = [] } = parse(text)
    t.is(resources[0], '../../base', name)
    for (const { patch } of patches)
      for (const volume of parse(patch).spec?.template.spec.volumes ?? [])
        t.true(volumes.includes(volume.name), volume.name)
    // an overlay with pools of its own gets no others
    const ownPools = patches.some(({ patch }: Any) => parse(patch).data?.firstPools === 'none')
    t.is(ownPools, resources.includes('pools.yaml'), name)
  }
})

test('over Calico’s CRDs there are those of Margay’s own kinds alone, and the same rights in the other group', t => {
  const { patches } = parse(made.get('overlays/calico-crds/kustomization.yaml')!)
  t.deepEqual(
    patches.map(({ target }: Any) => `${target.kind} ${target.name ?? 'each'}`),
    [
      'CustomResourceDefinition .*[.]projectcalico[.]org',
      'ConfigMap margay-config',
      'ClusterRole margay-node',
      'ClusterRole margay-controllers',
    ],
  )
  const rulesOf = (name: string) =>
    objects.find(({ kind, metadata }) => kind === 'ClusterRole' && metadata.name === name).rules
  const inV1 = (rules: Any[]): Any[] =>
    rules.map(rule =>
      rule.apiGroups[0] !== 'projectcalico.org'
        ? rule
        : {
            ...rule,
            apiGroups: ['crd.projectcalico.org'],
            resources: rule.resources.map((each: string) => (each === 'ipamconfigurations' ? 'ipamconfigs' : each)),
          },
    )
  for (const { target, patch } of patches.slice(2))
    t.deepEqual(parse(patch)[0].value, inV1(rulesOf(target.name)), target.name)
  const names = crdObjects().map(({ metadata }) => String(metadata['name']))
  const stay = names.filter(name => !new RegExp(`^${patches[0].target.name}$`).test(name))
  t.deepEqual(stay, ['policyreceipts.margay.io', 'policystatuses.margay.io'])
  const inChart = parseAllDocuments(rendered(made.get('chart/templates/crds.yaml')!, { calicoCrds: true }))
  t.deepEqual(
    inChart.map(each => each.toJS()?.metadata.name).filter(name => name !== undefined),
    stay,
  )
  t.is(parse(patches[1].patch).data.apiGroup, 'v1')
  t.is(objects.find(({ kind }) => kind === 'ConfigMap').data.apiGroup, 'v3')
  const chart = rendered(made.get('chart/templates/accounts.yaml')!, { calicoCrds: true })
  const roles = parseAllDocuments(chart)
    .map(each => each.toJS())
    .filter(({ kind }) => kind === 'ClusterRole')
  t.deepEqual(
    roles.map(({ rules }) => rules),
    ['margay-node', 'margay-controllers'].map(name => inV1(rulesOf(name))),
  )
  t.regex(
    rendered(made.get('chart/templates/config.yaml')!.replace(/\{\{- with[\s\S]*/, ''), {
      ...parse(made.get('chart/values.yaml')!),
      calicoCrds: true,
    }),
    /apiGroup: v1/,
  )
})

test('each option that a container gives its program is one of that program', async t => {
  const sources: Record<string, string> = {
    'margay-node.js': 'agent/main.ts',
    'margay-controllers.js': 'controllers/main.ts',
  }
  const pods = [podOf('DaemonSet'), podOf('Deployment'), podOf('DaemonSet', objectsIn('remove.yaml'))]
  const containers = pods.flatMap(pod => [...(pod.initContainers ?? []), ...pod.containers])
  const commands: string[][] = containers.flatMap(each => [
    each.args,
    ...['startupProbe', 'livenessProbe', 'readinessProbe'].flatMap(name => {
      const command = each[name]?.exec?.command
      return command === undefined ? [] : [command.slice(1)]
    }),
  ])
  const helps = new Map<string, Promise<string>>()
  for (const [program = '', ...args] of commands.filter(([first]) => first !== '--eval')) {
    const source = sources[basename(program)]!
    const command = args[0]?.startsWith('-') ? [] : args.slice(0, 1)
    const key = [source, ...command].join(' ')
    // the options of the program itself are taken behind a command too
    if (!helps.has(key))
      helps.set(
        key,
        Promise.all([helpOf(source), helpOf(source, ...command)]).then(texts => texts.join()),
      )
    const help = await helps.get(key)!
    for (const arg of args.filter(each => each.startsWith('--')))
      t.regex(help, new RegExp(`${arg.replace(/=.*/, '')}\\b`), key)
  }
  t.deepEqual([...helps.keys()].toSorted(), [
    'agent/main.ts',
    'agent/main.ts install',
    'agent/main.ts probe',
    'agent/main.ts remove',
    'controllers/main.ts',
  ])
})

test('the init container’s command installs, with the values of the ConfigMap', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'margay-manifests-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [{ args, env }] = podOf('DaemonSet').initContainers
  const { data } = objects.find(({ kind }) => kind === 'ConfigMap')
  const values = new Map<string, string>(env.map((each: Any) => [each.name, data[each.valueFrom.configMapKeyRef.key]]))
  const machine = process.arch === 'x64' ? 'amd64' : process.arch
  mkdirSync(join(folder, 'cni', machine), { recursive: true })
  writeFileSync(join(folder, 'cni', machine, 'margay'), 'the plugin')
  const argv = (args as string[])
    .slice(1)
    .map(arg => arg.replace(/\$\((\w+)\)/g, (_, name) => values.get(name)!))
    .map(arg => arg.replace('/opt/margay/cni', join(folder, 'cni')).replace(/^\/host/, folder))
  await execFile(process.execPath, [join(ROOT, 'agent/main.ts'), ...argv])
  t.is(readFileSync(join(folder, 'cni/bin/margay'), 'utf8'), 'the plugin')
  t.is(JSON.parse(readFileSync(join(folder, 'cni/net.d/10-margay.conflist'), 'utf8')).name, 'margay')
})

/** A template as Helm renders it with the chart's own values: of its language only what the chart uses. */
function rendered(text: string, values: Any): string {
  const valueAt = (path: string): Any => path.split('.').reduce((all: Any, part) => all[part], values)
  const whole = text
    .replace(
      /\{\{- if \.Values\.(\w+) \}\}\n([\s\S]*?)\{\{- else \}\}\n([\s\S]*?)\{\{- end \}\}\n/g,
      (_, path, yes, no) => (valueAt(path) ? yes : no),
    )
    .replace(/\{\{- (?:with|range) \.Values\.([\w.]+) \}\}\n[\s\S]*?\n\{\{- end \}\}\n/g, (all, path) =>
      valueAt(path).length > 0 ? all : '',
    )
    .replaceAll('{{ .Release.Namespace }}', 'kube-system')
    .replace(/\{\{ \.Values\.([\w.]+) \}\}/g, (_, path) => valueAt(path))
    .replace(/\{\{ \.Values\.([\w.]+) \| quote \}\}/g, (_, path) => JSON.stringify(valueAt(path)))
  if (whole.includes('{{'))
    throw new Error(`not rendered: ${whole.slice(whole.indexOf('{{'), whole.indexOf('{{') + 80)}`)
  return whole
}

test('the Helm chart with its own values gives what margay.yaml has, and to remove it, what remove.yaml has', t => {
  const values = parse(made.get('chart/values.yaml')!)
  const templates = [...made].filter(([name]) => name.startsWith('chart/templates/'))
  const given = (more: object) =>
    templates.flatMap(([, text]) =>
      parseAllDocuments(rendered(text, { ...values, ...more })).flatMap(each =>
        each.contents === null ? [] : [each.toJS()],
      ),
    )
  const keyOf = ({ kind, metadata }: Any) => `${kind} ${metadata.name}`
  const sorted = (all: Any[]) => all.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
  const installed = objects.filter(({ kind }) => kind !== 'CustomResourceDefinition')
  t.deepEqual(sorted(given({})), sorted(installed))
  const removing = objectsIn('remove.yaml')
  const others = installed.filter(({ kind }) => kind !== 'DaemonSet')
  t.deepEqual(sorted(given({ remove: true })), sorted([...others, ...removing]))
  t.is(made.get('chart/crds/crds.yaml'), made.get('crds.yaml'))
})

test('the schema of the chart names each of its values, and no others', t => {
  const names = (of: Any): Any =>
    of.properties === undefined
      ? true
      : Object.fromEntries(Object.entries(of.properties).map(([name, each]) => [name, names(each)]))
  const shape = (of: Any): Any =>
    typeof of !== 'object' || Array.isArray(of)
      ? true
      : Object.fromEntries(Object.entries(of).map(([name, each]) => [name, shape(each)]))
  const schema = JSON.parse(made.get('chart/values.schema.json')!)
  t.deepEqual(names(schema), shape(parse(made.get('chart/values.yaml')!)))
  t.false(schema.additionalProperties)
})

async function helpOf(source: string, ...command: string[]): Promise<string> {
  return (await execFile(process.execPath, [join(ROOT, source), ...command, '--help'])).stdout
}
