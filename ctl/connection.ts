// Which API server a command line means: kubectl's options, or the file that calicoctl's --config names.
import { API_GROUPS, type ApiGroup } from '../api/api-group.ts'
import { isObject } from '../api/merge-patch.ts'
import type { CommandOption, Options } from './command.ts'
import { UsageError } from './failure.ts'
import { fileText } from './sources.ts'
import { parseYaml } from './yaml.ts'

export type ServerOptions = {
  kubeconfig?: string
  context?: string
  cluster?: string
  user?: string
  server?: string
  token?: string
  caData?: string
  timeoutMs?: number
  apiGroup?: ApiGroup
}

/** What every command takes, before or after its own options. */
export const globalOptions: readonly CommandOption[] = [
  {
    flags: '--kubeconfig <file>',
    summary: 'kubeconfig of the API server; default: $KUBECONFIG, ~/.kube/config, the pod',
  },
  { flags: '--context <name>', summary: 'context of the kubeconfig; default: its current one' },
  { flags: '--cluster <name>', summary: 'cluster of the kubeconfig' },
  { flags: '--user <name>', summary: 'user of the kubeconfig' },
  { flags: '--server <url>', summary: 'API server without a kubeconfig, such as http://127.0.0.1:6480' },
  { flags: '--token <token>', summary: 'bearer token for --server; in a file it is safer' },
  { flags: '--token-file <file>', summary: 'file with the bearer token for --server' },
  { flags: '--ca-file <file>', summary: 'certificate authority for --server, PEM' },
  { flags: '--request-timeout <time>', summary: 'how long the server may take to answer, such as 10s; default: 30s' },
  {
    flags: '--api-group <group>',
    summary:
      'v3 (projectcalico.org/v3) or v1 (crd.projectcalico.org/v1); default: what is there, and of both the one in ConfigMap margay-config',
  },
  { flags: '-c, --config <file>', summary: "calicoctl's configuration file, with datastoreType kubernetes" },
  { flags: '--allow-version-mismatch', summary: 'as calicoctl; versions are not compared here' },
]

/** Rejects with UsageError when options contradict each other or a file cannot be read. */
export async function connectionOf(options: Options): Promise<ServerOptions> {
  const { kubeconfig, context, cluster, user, server, token, tokenFile, caFile, requestTimeout, config } = options
  const apiGroup = options['apiGroup'] === undefined ? undefined : parseApiGroup(String(options['apiGroup']))
  for (const [flag, given] of Object.entries({ kubeconfig, context, cluster, user }))
    if (given !== undefined && server !== undefined) throw new UsageError(`give --${flag} or --server, not both`)
  if (token !== undefined && tokenFile !== undefined) throw new UsageError('give --token or --token-file, not both')
  if (config !== undefined && (kubeconfig !== undefined || server !== undefined))
    throw new UsageError('--config names the server: give no --kubeconfig and no --server beside it')
  const ofConfig = typeof config === 'string' ? await calicoctlConfig(config) : {}
  const timeoutMs = requestTimeout === undefined ? undefined : millisecondsOf(String(requestTimeout))
  return {
    ...ofConfig,
    ...defined({ kubeconfig, context, cluster, user, token }),
    ...(server === undefined ? {} : { server: checkedUrl(String(server), '--server') }),
    ...(typeof tokenFile === 'string' ? { token: (await fileText(tokenFile)).trim() } : {}),
    ...(typeof caFile === 'string' ? { caData: await fileText(caFile) } : {}),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(apiGroup === undefined ? {} : { apiGroup }),
  }
}

function parseApiGroup(text: string): ApiGroup {
  const group = API_GROUPS.find(each => each === text)
  if (group !== undefined) return group
  throw new UsageError(`--api-group ${text}: give ${API_GROUPS.join(' or ')}`)
}

function defined(fields: Options): Partial<Record<string, string>> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => typeof value === 'string')) as Partial<
    Record<string, string>
  >
}

function checkedUrl(url: string, what: string): string {
  if (/^https?:\/\/[^/]/.test(url)) return url
  throw new UsageError(`${what} ${url}: give a URL such as http://127.0.0.1:6480`)
}

/** kubectl's durations, `10s`, `1m`, a bare number of seconds; `0`: no limit, which is a day here. */
function millisecondsOf(text: string): number {
  const [, digits, unit = 's'] = /^(\d{1,6})(ms|s|m|h)?$/.exec(text) ?? []
  if (digits === undefined) throw new UsageError(`--request-timeout ${text}: give a time such as 10s or 2m`)
  const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit as 'ms' | 's' | 'm' | 'h']
  return Number(digits) === 0 ? 86_400_000 : Math.min(Number(digits) * unitMs, 86_400_000)
}

/** The fields of a CalicoAPIConfig that lead to a Kubernetes API server. */
async function calicoctlConfig(path: string): Promise<ServerOptions> {
  const spec = specOf(await fileText(path), path)
  const text = (field: string): string | undefined =>
    typeof spec[field] === 'string' && spec[field] !== '' ? spec[field] : undefined
  const type = text('datastoreType')
  if (type !== 'kubernetes')
    throw new UsageError(
      `${path}: datastoreType is ${type ?? 'etcdv3'}: the Kubernetes API is the only datastore here. Write datastoreType: kubernetes and a kubeconfig.`,
    )
  const [kubeconfig, server, group] = [text('kubeconfig'), text('k8sAPIEndpoint'), text('calicoAPIGroup')]
  // as in Calico, anything else means v1
  const isV3 = group?.toLowerCase() === 'projectcalico.org/v3'
  const form = group === undefined ? {} : { apiGroup: isV3 ? ('v3' as const) : ('v1' as const) }
  if (server === undefined) return { ...form, ...(kubeconfig === undefined ? {} : { kubeconfig }) }
  const [token, caFile] = [text('k8sAPIToken'), text('k8sCAFile')]
  return {
    ...form,
    server: checkedUrl(server, `${path}: k8sAPIEndpoint`),
    ...(token === undefined ? {} : { token }),
    ...(caFile === undefined ? {} : { caData: await fileText(caFile) }),
  }
}

/** What is wrong is told without the text around it: there may be a token in it. */
function specOf(text: string, path: string): Record<string, unknown> {
  let config: unknown
  try {
    ;[config] = parseYaml(text)
  } catch {
    throw new UsageError(`${path} is no YAML`)
  }
  if (isObject(config) && config['kind'] === 'CalicoAPIConfig' && isObject(config['spec'])) return config['spec']
  throw new UsageError(`${path} is no CalicoAPIConfig: it has kind: CalicoAPIConfig and a spec with datastoreType`)
}
