// Where the API server is and how to authenticate there, from a kubeconfig or a pod's service account. Tokens, CAs and
// client certificates are read here; a kubeconfig with a credential program, an auth provider or a proxy goes to
// client-node, which is loaded only then: it costs 60 MB and most of a second of an agent's start.
import { existsSync, readFileSync } from 'node:fs'
import type { RequestOptions } from 'node:https'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { isObject } from '../api/merge-patch.ts'
import { jsonFault } from '../lib/json-fault.ts'
import { Unreachable } from './port.ts'

export type AccessOptions = {
  /** Path of a kubeconfig file. */
  kubeconfig?: string
  /** What to take of the kubeconfig instead of its current context, and of that context's cluster and user. */
  context?: string
  cluster?: string
  user?: string
  /** URL of the server, instead of a kubeconfig; with an optional bearer token and CA (PEM). */
  server?: string
  token?: string
  caData?: string
}

export type Access = {
  server: URL
  /** Connections go through a proxy, and are not ours to keep. */
  viaProxy: boolean
  /** TLS options and headers of one request. Rejects with Unreachable when the credentials cannot be had now. */
  authenticate(): Promise<RequestOptions>
  /** They did not work: what lies in files is read again for the next request. */
  forget(): void
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
/** How long credentials from files are used before the files are read again: a service account's token is replaced. */
const REREAD_MS = 60_000

/** Fields that are read here. A kubeconfig with any other field is left to client-node. */
const PLAIN_CLUSTER = new Set([
  'server',
  'certificate-authority',
  'certificate-authority-data',
  'insecure-skip-tls-verify',
  'tls-server-name',
])
const PLAIN_USER = new Set([
  'token',
  'tokenFile',
  'client-certificate',
  'client-certificate-data',
  'client-key',
  'client-key-data',
])

/**
 * Access by the options, else $KUBECONFIG, else ~/.kube/config, else the pod's service account. Throws when no server is
 * named or the kubeconfig cannot be read.
 */
export function accessOf({ kubeconfig, server, token, caData, ...names }: AccessOptions): Access {
  if (server !== undefined) {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    return plainAccess(server, () => ({ headers, ...(caData === undefined ? {} : { ca: caData }) }))
  }
  const [file, ...more] = kubeconfigFiles(kubeconfig)
  return file === undefined ? serviceAccount() : fromKubeconfig(file, kubeconfig, more.length > 0, names)
}

/**
 * The namespace that a context of the kubeconfig names, or that the pod is in; undefined where neither says one. Throws
 * when the kubeconfig cannot be read.
 */
export function namespaceOf({ kubeconfig, server, context }: AccessOptions): string | undefined {
  if (server !== undefined) return undefined
  const files = kubeconfigFiles(kubeconfig)
  const own = join(SERVICE_ACCOUNT, 'namespace')
  if (files.length === 0) return existsSync(own) ? readFileSync(own, 'utf8').trim() : undefined
  const configs = files.filter(file => existsSync(file)).map(file => parseConfig(file, readFileSync(file, 'utf8')))
  const wanted = context ?? configs.map(currentContext).find(Boolean)
  const found = configs.map(config => named(config, 'contexts', 'context', wanted)).find(each => each !== undefined)
  return found === undefined ? undefined : textOf(found, 'namespace')
}

/** The kubeconfig that was asked for, else those of $KUBECONFIG, else ~/.kube/config where it is there. */
function kubeconfigFiles(asked: string | undefined): string[] {
  if (asked !== undefined) return [asked]
  const files = (process.env['KUBECONFIG'] ?? '').split(delimiter).filter(part => part !== '')
  const home = join(homedir(), '.kube', 'config')
  return files.length > 0 ? files : existsSync(home) ? [home] : []
}

function currentContext(config: unknown): unknown {
  return isObject(config) ? config['current-context'] : undefined
}

type Names = Pick<AccessOptions, 'context' | 'cluster' | 'user'>

function fromKubeconfig(path: string, asked: string | undefined, merged: boolean, names: Names): Access {
  if (merged) return fromClientNode(asked, undefined, names)
  let entries = entriesOf(path, names)
  const { cluster, user } = entries
  if (cluster === undefined || typeof cluster['server'] !== 'string')
    throw new Error(
      names.context === undefined && names.cluster === undefined
        ? 'the kubeconfig has no current context with a cluster: name a server'
        : `${path} has no ${names.cluster === undefined ? `context ${names.context}` : `cluster ${names.cluster}`} with a server: \`kubectl config get-contexts\` lists what it has`,
    )
  const isPlain =
    Object.keys(cluster).every(field => PLAIN_CLUSTER.has(field)) &&
    Object.keys(user).every(field => PLAIN_USER.has(field))
  if (!isPlain)
    return fromClientNode(asked, { server: cluster['server'], proxy: cluster['proxy-url'] !== undefined }, names)
  const folder = dirname(path)
  return plainAccess(cluster['server'], () => {
    entries = entriesAgain(path, names) ?? entries
    const { user, cluster = {} } = entries
    const token = textOf(user, 'token') ?? fileOf(user, 'tokenFile', folder)?.trim()
    return {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      ...defined('ca', dataOf(cluster, 'certificate-authority', folder)),
      ...defined('cert', dataOf(user, 'client-certificate', folder)),
      ...defined('key', dataOf(user, 'client-key', folder)),
      ...defined('servername', textOf(cluster, 'tls-server-name')),
      ...(cluster['insecure-skip-tls-verify'] === true ? { rejectUnauthorized: false } : {}),
    }
  })
}

type Entries = { cluster: Record<string, unknown> | undefined; user: Record<string, unknown> }

/** What the current context of a kubeconfig names, or the one that was asked for. */
function entriesOf(path: string, names: Names): Entries {
  const config = parseConfig(path, readFileSync(path, 'utf8'))
  const context = named(config, 'contexts', 'context', names.context ?? currentContext(config))
  const known = names.context === undefined || context !== undefined
  const cluster = known ? named(config, 'clusters', 'cluster', names.cluster ?? context?.['cluster']) : undefined
  return { cluster, user: named(config, 'users', 'user', names.user ?? context?.['user']) ?? {} }
}

/** What is wrong is told without the text around it, nor as a cause: there are tokens in it, and messages end up in logs. */
function parseConfig(path: string, text: string): unknown {
  try {
    return text.trimStart().startsWith('{') ? JSON.parse(text) : parseYaml(text)
  } catch (error) {
    if (error instanceof SyntaxError) throw new Error(`${path} ${jsonFault(error)}`)
    const [where] = /line \d+, column \d+/.exec((error as Error).message) ?? []
    throw new Error(`${path} is not YAML${where === undefined ? '' : ` at ${where}`}`)
  }
}

/** Loading the YAML library takes 40 ms of an agent's start, and a pod's service account has no use for it. */
function parseYaml(text: string): unknown {
  const { parse } = createRequire(import.meta.url)('yaml') as typeof import('yaml')
  return parse(text)
}

/** What `entriesOf` says of a file that may be gone, or half written, by now: then undefined. */
function entriesAgain(path: string, names: Names): Entries | undefined {
  try {
    const entries = entriesOf(path, names)
    return entries.cluster === undefined ? undefined : entries
  } catch {
    return undefined // what the file said before still counts
  }
}

function serviceAccount(): Access {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env
  if (host === undefined || port === undefined || !existsSync(join(SERVICE_ACCOUNT, 'token')))
    throw new Error('no kubeconfig is named, and this is no pod with a service account: name a server')
  return plainAccess(`https://${host.includes(':') ? `[${host}]` : host}:${port}`, () => ({
    headers: { authorization: `Bearer ${readFileSync(join(SERVICE_ACCOUNT, 'token'), 'utf8').trim()}` },
    ca: readFileSync(join(SERVICE_ACCOUNT, 'ca.crt'), 'utf8'),
  }))
}

function plainAccess(server: string, read: () => RequestOptions): Access {
  let known: { options: RequestOptions; atMs: number } | undefined
  return {
    server: new URL(server),
    viaProxy: false,
    async authenticate() {
      if (known !== undefined && performance.now() - known.atMs < REREAD_MS) return known.options
      try {
        known = { options: read(), atMs: performance.now() }
      } catch (error) {
        throw noCredentials(error) // a file that is missing or may not be read
      }
      return known.options
    },
    forget: () => {
      known = undefined
    },
  }
}

/** `known` is what was read of the file; undefined when several files are to be merged. */
function fromClientNode(
  path: string | undefined,
  known: { server: string; proxy: boolean } | undefined,
  { context, cluster, user }: Names,
): Access {
  const loading = import('@kubernetes/client-node').then(({ KubeConfig }) => {
    const config = new KubeConfig()
    if (path === undefined) config.loadFromDefault()
    else config.loadFromFile(path)
    // client-node accepts http:// only with skipTLSVerify
    config.clusters = config.clusters.map(c => (c.server.startsWith('http:') ? { ...c, skipTLSVerify: true } : c))
    if (context !== undefined) config.setCurrentContext(context)
    config.contexts = config.contexts.map(each =>
      each.name === config.currentContext
        ? { ...each, cluster: cluster ?? each.cluster, user: user ?? each.user }
        : each,
    )
    return config
  })
  loading.catch(() => {}) // every request hears of it
  const server = known?.server ?? mergedServer({ context, cluster })
  return {
    server: new URL(server),
    viaProxy: known?.proxy ?? true,
    async authenticate() {
      const options: RequestOptions = { headers: {} }
      try {
        await (await loading).applyToHTTPSOptions(options)
      } catch (error) {
        throw noCredentials(error) // whatever client-node or a credential program throws
      }
      return options
    },
    forget: () => undefined,
  }
}

/** The server of the first of several kubeconfig files that has the current context. */
function mergedServer({ context, cluster }: Names): string {
  const files = kubeconfigFiles(undefined).filter(file => existsSync(file))
  const configs = files.map(file => parseConfig(file, readFileSync(file, 'utf8')))
  const current = context ?? configs.map(currentContext).find(Boolean)
  const first = (list: string, field: string, name: unknown): Record<string, unknown> | undefined =>
    configs.map(config => named(config, list, field, name)).find(found => found !== undefined)
  const server = first('clusters', 'cluster', cluster ?? first('contexts', 'context', current)?.['cluster'])?.['server']
  if (typeof server === 'string') return server
  throw new Error('the files of $KUBECONFIG have no current context with a cluster: name a server')
}

/** The entry called `name` of one of a kubeconfig's three lists. */
function named(config: unknown, list: string, field: string, name: unknown): Record<string, unknown> | undefined {
  const entries = isObject(config) && Array.isArray(config[list]) ? (config[list] as unknown[]) : []
  const entry = entries.find(each => isObject(each) && each['name'] === name)
  return isObject(entry) && isObject(entry[field]) ? entry[field] : undefined
}

function textOf(object: Record<string, unknown>, field: string): string | undefined {
  const value = object[field]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** A file's text; its path may be relative to the kubeconfig. */
function fileOf(object: Record<string, unknown>, field: string, folder: string): string | undefined {
  const path = textOf(object, field)
  return path === undefined ? undefined : readFileSync(resolve(folder, path), 'utf8')
}

/** The decoded value of `<field>-data`, or the content of the file that `field` names. */
function dataOf(object: Record<string, unknown>, field: string, folder: string): string | undefined {
  const data = textOf(object, `${field}-data`)
  return data === undefined ? fileOf(object, field, folder) : Buffer.from(data, 'base64').toString()
}

function defined<K extends string>(key: K, value: string | undefined): { [key in K]?: string } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]: string })
}

function noCredentials(error: unknown): Unreachable {
  const { message } = error as Error
  return new Unreachable(`the credentials for the API server cannot be had: ${message}`, { cause: error })
}
