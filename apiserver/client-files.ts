// What the data directory holds for clients: the administrator's token, a kubeconfig that is written at each start, since
// the address may have changed, and the tokens of nodes with the kubeconfigs that are made from them.
import { appendFileSync, closeSync, constants, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { isObjectName } from '../api/names.ts'
import { nodeTokenIn, nodeTokenLine } from './identity.ts'
import { newToken, opened, readSecret, SecretFileError, writeNew } from './secret-files.ts'

/** Where they lie. */
export function clientPaths(dataDir: string): { token: string; users: string; kubeconfig: string } {
  return { token: join(dataDir, 'token'), users: join(dataDir, 'tokens.csv'), kubeconfig: join(dataDir, 'kubeconfig') }
}

/** Writes the kubeconfig of a server, whole or not at all. JSON is YAML, so any client reads it. */
export function writeKubeconfig(path: string, access: KubeconfigAccess): void {
  const part = `${path}.${process.pid}.part`
  rmSync(part, { force: true })
  writeNew(part, kubeconfigText(access))
  renameSync(part, path)
}

type KubeconfigAccess = { server: string; user: string; token: string; authority?: string }

/** A kubeconfig with one cluster, one user and one context. `authority` is PEM text. */
function kubeconfigText({ server, user, token, authority }: KubeconfigAccess): string {
  const data =
    authority === undefined ? {} : { 'certificate-authority-data': Buffer.from(authority).toString('base64') }
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'margay', cluster: { server, ...data } }],
    users: [{ name: user, user: { token } }],
    contexts: [{ name: 'margay', context: { cluster: 'margay', user } }],
    'current-context': 'margay',
  }
  return `${JSON.stringify(config, null, 2)}\n`
}

/**
 * A kubeconfig for one node, whose token writes what belongs to this node only. The token is made, and added to the data
 * directory's token file, at the first call for a node. Throws SecretFileError.
 */
export function nodeKubeconfig(dataDir: string, node: string): string {
  if (!isObjectName(node))
    throw new SecretFileError(`${JSON.stringify(node)} is no node name: use that of its Node object`)
  const { users, kubeconfig } = clientPaths(dataDir)
  const admin = parsedKubeconfig(kubeconfig)
  const known = nodeTokenIn(existing(users), node)
  const token = known ?? newToken()
  if (known === undefined) {
    const file = opened(users, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW)
    appendFileSync(file, nodeTokenLine(token, node))
    closeSync(file)
  }
  const user = `system:node:${node}`
  return kubeconfigText({ ...admin, user, token })
}

function parsedKubeconfig(path: string): { server: string; authority?: string } {
  try {
    const { cluster } = JSON.parse(readSecret(path)).clusters[0]
    const data = cluster['certificate-authority-data']
    return {
      server: cluster.server,
      ...(data === undefined ? {} : { authority: Buffer.from(data, 'base64').toString() }),
    }
  } catch (error) {
    if (error instanceof SecretFileError) throw error
    throw new SecretFileError(
      `${path} cannot be read (${(error as Error).message}): start margay-api once, it writes it`,
    )
  }
}

function existing(path: string): string {
  try {
    const text = readSecret(path)
    return text === '' || text.endsWith('\n') ? text : `${text}\n`
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}
