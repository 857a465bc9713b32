// Credentials of the lab's API server (certificate, token, kubeconfig) and the objects that a cluster holds before any
// node starts.
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Kind } from '../api/kinds.ts'
import { netnsPath, spawnInNetns } from '../kernel/netns.ts'
import { type Plan, POD_NAMESPACE } from './plan.ts'
import { runProgram } from './program.ts'

/** `kubeconfig` is the administrator's; `nodeKubeconfigs` has one by node, whose token writes only what is the node's. */
export type Credentials = {
  certFile: string
  keyFile: string
  tokenFile: string
  usersFile: string
  kubeconfig: string
  nodeKubeconfigs: ReadonlyMap<string, string>
}

/** Of pods, by the pools of `clusterObjects`. */
export const POOL_CIDRS = { ipv4: '10.244.0.0/16', ipv6: 'fd00:10:244::/56' } as const

/** Makes key, certificate, tokens and kubeconfigs in `dir`. They live as long as the lab. */
export async function makeCredentials(
  dir: string,
  plan: { api: Pick<Plan['api'], 'address' | 'port'>; nodes: readonly { name: string }[] },
): Promise<Credentials> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const files = credentialFiles(dir, plan.nodes)
  const { certFile, keyFile, tokenFile, usersFile, kubeconfig, nodeKubeconfigs } = files
  const { address, port } = plan.api
  await makeCertificate({ certFile, keyFile, subject: 'margay-api', names: [`IP:${address}`] })
  const server = `https://${address}:${port}`
  const authority = readFileSync(certFile).toString('base64')
  const write = (path: string, text: string): void => writeFileSync(path, text, { mode: 0o600 })
  const token = newToken()
  write(tokenFile, `${token}\n`)
  write(kubeconfig, kubeconfigText(server, authority, token))
  const nodes = [...nodeKubeconfigs].map(([name, path]) => ({ name, token: newToken(), path }))
  for (const node of nodes) write(node.path, kubeconfigText(server, authority, node.token))
  const lines = nodes.map(({ name, token }) => `${token},system:node:${name},,"system:nodes"\n`)
  write(usersFile, lines.join(''))
  return files
}

/** Where `makeCredentials` writes what. */
export function credentialFiles(dir: string, nodes: readonly { name: string }[]): Credentials {
  return {
    certFile: join(dir, 'tls.crt'),
    keyFile: join(dir, 'tls.key'),
    tokenFile: join(dir, 'token'),
    usersFile: join(dir, 'tokens.csv'),
    kubeconfig: join(dir, 'kubeconfig'),
    nodeKubeconfigs: new Map(nodes.map(({ name }) => [name, join(dir, `${name}.kubeconfig`)])),
  }
}

/** Makes a key and a certificate that signs itself, for 30 days; `names` as in a subjectAltName. Throws what openssl says. */
export async function makeCertificate(options: {
  certFile: string
  keyFile: string
  subject: string
  names: readonly string[]
}): Promise<void> {
  const { certFile, keyFile, subject, names } = options
  const made = await runProgram([
    ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-days', '30', '-subj', `/CN=${subject}`, '-addext', `subjectAltName=${names.join(',')}`],
    ...['-keyout', keyFile, '-out', certFile],
  ])
  if (made.code !== 0) throw new Error(`openssl could not make a certificate: ${made.stderr.trim()}`)
}

export function newToken(): string {
  return randomBytes(24).toString('hex')
}

/** JSON is YAML, so any client reads it. `authority` is a certificate as base64 of its PEM text. */
export function kubeconfigText(server: string, authority: string, token: string): string {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster: { server, 'certificate-authority-data': authority } }],
    users: [{ name: 'lab', user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
    'current-context': 'lab',
  }
  return `${JSON.stringify(config, null, 2)}\n`
}

/** A kind and its object, as `objects.ts` reads them. */
export type ClusterObject = { kind: Kind; object: unknown }

/** What changes in an object, as a merge patch (RFC 7396) has it. */
export type ClusterPatch = { kind: Kind; name: string; patch: object }

/** A line that `objects.ts` reads. */
export type ObjectsRequest = {
  put?: readonly ClusterObject[]
  patch?: readonly ClusterPatch[]
  remove?: readonly ClusterObject[]
}

/**
 * What the cluster holds before a node starts. Full mesh, a pool, IP-in-IP only where a router is between; where the plan has
 * IPv6 a pool of that too, with blocks of as many addresses and VXLAN where a router is between.
 */
export function clusterObjects(
  plan: Plan,
  { blockSize = 26, ...spec }: { blockSize?: number; natOutgoing?: boolean } = {},
): ClusterObject[] {
  const pool6 = {
    metadata: { name: 'default-ipv6-ippool' },
    spec: { cidr: POOL_CIDRS.ipv6, blockSize: blockSize + 96, vxlanMode: 'CrossSubnet', ...spec },
  }
  return [
    {
      kind: 'IPPool',
      object: {
        metadata: { name: 'default-ipv4-ippool' },
        spec: { cidr: POOL_CIDRS.ipv4, blockSize, ipipMode: 'CrossSubnet', ...spec },
      },
    },
    ...(plan.ipv6 ? [{ kind: 'IPPool', object: pool6 } as const] : []),
    {
      kind: 'BGPConfiguration',
      object: { metadata: { name: 'default' }, spec: { nodeToNodeMeshEnabled: true, asNumber: 64512 } },
    },
    { kind: 'Namespace', object: { metadata: { name: POD_NAMESPACE } } },
    ...plan.nodes.map(({ name, address }) => ({
      kind: 'Node' as const,
      object: { metadata: { name }, spec: {}, status: { addresses: [{ type: 'InternalIP', address }] } },
    })),
    ...plan.nodes.flatMap(node => node.pods.map(pod => podObject(pod.name, node.name))),
  ]
}

/** A pod bound to its node, with its name as the label `pod`; with addresses, as a kubelet reports them once it runs. */
export function podObject(name: string, nodeName: string, addresses: readonly string[] = []): ClusterObject {
  return {
    kind: 'Pod',
    object: {
      metadata: { name, namespace: POD_NAMESPACE, labels: { pod: name } },
      spec: { nodeName, containers: [{ name: 'main', image: 'none' }] },
      ...(addresses.length > 0 && { status: runningStatus(addresses) }),
    },
  }
}

/** Of a Pod that runs. */
export function runningStatus(addresses: readonly string[]): unknown {
  return { phase: 'Running', podIP: addresses[0], podIPs: addresses.map(ip => ({ ip })) }
}

/** Writes objects through `objects.ts`, a program in the API server's namespace; it ends when this process does. */
export class ClusterWriter {
  readonly #child: ChildProcess
  readonly #waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  #said = ''

  constructor(netns: string, objectsProgram: readonly string[]) {
    const [command, ...args] = objectsProgram
    this.#child = spawnInNetns(netnsPath(netns), command!, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stdin!.on('error', () => {}) // its end says so
    this.#child.stderr!.on('data', text => {
      this.#said += text
    })
    createInterface({ input: this.#child.stdout! }).on('line', line => {
      const asked = this.#waiting.shift()
      if (line === 'ok') asked?.resolve()
      else asked?.reject(new Error(line))
    })
    const ended = () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`it ended: ${this.#said.trim()}`))
    }
    this.#child.on('error', ended)
    this.#child.on('close', ended)
  }

  /** Puts them in order; one that exists keeps its spec and gets the status. */
  put(objects: readonly ClusterObject[]): Promise<void> {
    return this.#ask({ put: objects })
  }

  patch(patches: readonly ClusterPatch[]): Promise<void> {
    return this.#ask({ patch: patches })
  }

  /** Deletes them in order; one that is not there is fine. */
  remove(objects: readonly ClusterObject[]): Promise<void> {
    return this.#ask({ remove: objects })
  }

  #ask(asked: ObjectsRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null) return reject(new Error(`it ended: ${this.#said.trim()}`))
      this.#waiting.push({ resolve, reject })
      this.#child.stdin!.write(`${JSON.stringify(asked)}\n`)
    })
  }

  close(): void {
    this.#child.stdin!.end()
  }
}
