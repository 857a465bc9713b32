// A real kube-apiserver with etcd behind it, on the loopback of this machine, and kubectl against it.
import { execFile, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type BinaryName, binary } from '../../lab/kubernetes/binaries.ts'

export type Ran = { code: number; stdout: string; stderr: string }

export type ApiServer = {
  kubectl(args: readonly string[], input?: string): Promise<Ran>
  /** The path of a kubeconfig for whoever has a token. */
  kubeconfig(token: string): string
  close(): Promise<void>
}

const NEEDED = ['etcd', 'kube-apiserver', 'kubectl'] as const satisfies readonly BinaryName[]
const START_MS = 90_000
/** Longer than anything that is asked here takes; then it is told what the server has not finished. */
const KUBECTL_MS = 100_000
const LEAVING =
  '{range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name} {.metadata.finalizers} {.status.conditions}{"\\n"}{end}'

/** Why no server can be started here; undefined when it can. */
export function apiServerProblem(): string | undefined {
  const missing = NEEDED.filter(name => !existsSync(binary(name)))
  return missing.length === 0 ? undefined : `${missing.join(', ')}: not there; name the folder that has them in K8S_BIN`
}

export async function startApiServer(): Promise<ApiServer> {
  const dir = mkdtempSync(join(tmpdir(), 'margay-api-server-'))
  const file = (name: string, text = ''): string => {
    if (text !== '') writeFileSync(join(dir, name), text, { mode: 0o600 })
    return join(dir, name)
  }
  const [client, peer, secure] = await Promise.all([freePort(), freePort(), freePort()])
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const key = file('sa.key', privateKey.export({ type: 'pkcs1', format: 'pem' }).toString())
  const etcd = `http://127.0.0.1:${client}`
  const log: string[] = []
  const start = (name: BinaryName, args: readonly string[]) => {
    const child = spawn(binary(name), args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr.setEncoding('utf8').on('data', (text: string) => log.push(text))
    return child
  }
  const programs = [
    start('etcd', [
      ...['--data-dir', file('etcd'), '--listen-client-urls', etcd, '--advertise-client-urls', etcd],
      ...['--listen-peer-urls', `http://127.0.0.1:${peer}`, '--unsafe-no-fsync', '--log-level', 'error'],
    ]),
    start('kube-apiserver', [
      ...[
        '--etcd-servers',
        etcd,
        '--secure-port',
        `${secure}`,
        '--bind-address',
        '127.0.0.1',
        '--cert-dir',
        file('certs'),
      ],
      ...['--service-cluster-ip-range', '10.96.0.0/16', '--authorization-mode', 'RBAC', '--allow-privileged'],
      ...['--service-account-key-file', key, '--service-account-signing-key-file', key],
      ...['--service-account-issuer', 'https://kubernetes.default.svc', '--endpoint-reconciler-type', 'none'],
      ...['--token-auth-file', file('tokens.csv', 'admin,admin,1,"system:masters"\n')],
    ]),
  ]
  const admin = file('kubeconfig', JSON.stringify(kubeconfigOf(secure, 'admin')))
  const runKubectl = (args: readonly string[], input: string): Promise<Ran & { isLate: boolean }> =>
    new Promise(resolve => {
      const env = { KUBECONFIG: admin, HOME: dir, PATH: '/usr/bin:/bin' }
      const options = { env, maxBuffer: 1 << 26, timeout: KUBECTL_MS }
      const child = execFile(binary('kubectl'), args, options, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : 1, stdout, stderr, isLate: error?.killed === true }),
      )
      child.stdin?.end(input)
    })
  const kubectl: ApiServer['kubectl'] = async (args, input = '') => {
    const { isLate, ...ran } = await runKubectl(args, input)
    if (!isLate) return ran
    const { stdout } = await runKubectl(['get', 'crd', '-o', `jsonpath=${LEAVING}`], '')
    const told = log.join('').slice(-2000)
    const why = `not done after ${KUBECTL_MS / 1000} s; CRDs that do not go: ${stdout}; the server said: ${told}`
    return { ...ran, stderr: `${ran.stderr} ${why}` }
  }
  const close = async (): Promise<void> => {
    for (const program of programs.reverse()) {
      const ended = once(program, 'exit')
      if (program.exitCode === null && program.kill('SIGKILL')) await ended
    }
    rmSync(dir, { recursive: true, force: true })
  }
  for (const until = performance.now() + START_MS; ; await pause(300)) {
    if ((await kubectl(['get', '--raw', '/readyz'])).code === 0) break
    if (performance.now() < until) continue
    const told = log.join('').slice(-2000)
    await close()
    throw new Error(`the API server does not answer: ${told}`)
  }
  return {
    ...{ kubectl, close },
    kubeconfig: token => file(`kubeconfig-${token.slice(-20)}`, JSON.stringify(kubeconfigOf(secure, token))),
  }
}

function kubeconfigOf(port: number, token: string): object {
  const cluster = { server: `https://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true }
  return {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'test', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
