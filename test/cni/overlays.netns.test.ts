// What an operator applies, down to the pod: the init container of each overlay writes a configuration, and with it and the
// pools of that overlay a pod gets the addresses that the overlay promises.
import { execFile as execFileOf } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { parse, parseAllDocuments } from 'yaml'
import { kinds, type Resource } from '../../api/kinds.ts'
import { FirstObjects } from '../../controllers/first-objects.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { manifestFiles } from '../../manifests/installation.ts'
import { addressOf, resultOf, withNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip
const execFile = promisify(execFileOf)
const AGENT = new URL('../../agent/main.ts', import.meta.url).pathname
const made = manifestFiles()
// biome-ignore lint/suspicious/noExplicitAny: objects of Kubernetes as a reader of YAML has them
type Any = any
const objectsIn = (file: string): Any[] => parseAllDocuments(made.get(file)!).map(document => document.toJS())

/** The ConfigMap as an overlay leaves it. */
function configOf(overlay: string): Record<string, string> {
  const { data } = objectsIn('margay.yaml').find(({ kind }) => kind === 'ConfigMap')
  const patches: Any[] = parse(made.get(`${overlay}/kustomization.yaml`)!).patches ?? []
  const patched = patches.filter(({ target }) => target.kind === 'ConfigMap').map(({ patch }) => parse(patch).data)
  return Object.assign({}, data, ...patched)
}

/** Runs the init container's command with folders of the test in the place of the host's; returns the configuration. */
async function installed(t: ExecutionContext, config: Readonly<Record<string, string>>): Promise<Any> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-overlay-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [{ args, env }] = objectsIn('margay.yaml').find(({ kind }) => kind === 'DaemonSet').spec.template.spec
    .initContainers
  const values = new Map<string, string>(
    env.map((each: Any) => [each.name, config[each.valueFrom.configMapKeyRef.key]]),
  )
  const argv = (args as string[]).slice(1).map(arg => arg.replace(/\$\((\w+)\)/g, (_, name) => values.get(name)!))
  const pluginDir = argv.indexOf('--plugin-dir')
  argv.splice(pluginDir, 2) // of the image; without it the plugin is the package's
  await execFile(process.execPath, [AGENT, ...argv.map(arg => arg.replace(/^\/host/, folder))])
  return JSON.parse(readFileSync(join(folder, 'cni/net.d/10-margay.conflist'), 'utf8'))
}

/** The pools of an overlay, or those that the controllers make of kubeadm's podSubnet. */
async function poolsOf(overlay: string, config: Any, podSubnet: string): Promise<Resource<'IPPool'>[]> {
  const own = `${overlay}/pools.yaml`
  if (made.has(own)) return objectsIn(own).map(each => kinds.IPPool.schema.parse(each))
  const store = createFakeStore()
  const kubeadm = () => `networking: { podSubnet: "${podSubnet}" }`
  await new FirstObjects({ store, log: silentLog, pools: undefined, kubeadm }).run()
  if (config.firstPools !== 'kubeadm') throw new Error(`${overlay} has no pools`)
  return store.list('IPPool')
}

type Row = { overlay: string; podSubnet?: string; families: readonly Family[] }

const V4 = '10.244.0.0/16'
const V6 = 'fd00:10:244::/56'
const rows: readonly Row[] = [
  { overlay: 'base', podSubnet: V4, families: ['ipv4'] },
  { overlay: 'base', podSubnet: `${V4},${V6}`, families: ['ipv4', 'ipv6'] },
  { overlay: 'base', podSubnet: V6, families: ['ipv6'] },
  { overlay: 'overlays/dual-stack', families: ['ipv4', 'ipv6'] },
  { overlay: 'overlays/vxlan', families: ['ipv4'] },
  { overlay: 'overlays/no-bgp-export', families: ['ipv4'] },
  { overlay: 'overlays/k3s', podSubnet: `${V4},${V6}`, families: ['ipv4', 'ipv6'] },
  { overlay: 'overlays/microk8s', podSubnet: V4, families: ['ipv4'] },
  { overlay: 'overlays/calico-crds', podSubnet: V6, families: ['ipv6'] },
]

test('every overlay has a row here', t => {
  const overlays = [...made.keys()].flatMap(file => /^(.+)\/kustomization\.yaml$/.exec(file)?.[1] ?? [])
  t.deepEqual([...new Set(rows.map(({ overlay }) => overlay))].toSorted(), overlays.toSorted())
})

for (const { overlay, podSubnet = '', families } of rows)
  asRoot(
    `${overlay}${podSubnet && `, podSubnet ${podSubnet}`}: pods get an address of ${families.join(' and ')}, and answer`,
    async t => {
      const config = configOf(overlay)
      const { plugins, name, cniVersion } = await installed(t, config)
      await withNode(
        async node => {
          const conf = { ...plugins[0], name, cniVersion, agentSocket: node.socket }
          const pods = [node.pod(), node.pod()]
          const results = []
          for (const [i, CNI_NETNS] of pods.entries())
            results.push(resultOf(t, await node.run('ADD', { CNI_CONTAINERID: `c${i}`, CNI_NETNS }, conf)))
          for (const [i, result] of results.entries()) {
            t.deepEqual(
              result.ips.map(({ address }) => familyOf(address)),
              families,
            )
            const checked = { CNI_CONTAINERID: `c${i}`, CNI_NETNS: pods[i] }
            const check = await node.run('CHECK', checked, { ...conf, prevResult: result })
            t.is(check.code, 0, check.stdout)
          }
          for (const i of families.keys()) {
            const ping = await node.exec(pods[0]!, 'ping', '-c1', '-W1', addressOf(results[1]!, i))
            t.is(ping.code, 0, ping.stdout)
          }
          for (const i of pods.keys())
            t.is((await node.run('DEL', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: '' }, conf)).code, 0)
          t.is(node.ipam.held().size, 0)
        },
        { pools: await poolsOf(overlay, config, podSubnet) },
      )
    },
  )
