// Keys, tokens and kubeconfigs of the lab's Kubernetes. One certificate is server certificate, authority and the key that
// signs the tokens of service accounts: it lives as long as the lab, and nobody else trusts it.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { kubeconfigText, makeCertificate, newToken } from '../cluster.ts'
import type { Plan } from '../plan.ts'

export type KubernetesCredentials = {
  certFile: string
  keyFile: string
  /** Users by token, in the form of kube-apiserver's --token-auth-file. */
  usersFile: string
  /** The administrator's kubeconfig. */
  adminFile: string
  /** The text of a kubelet's kubeconfig, by node. */
  kubelets: Readonly<Record<string, string>>
}

/** Of the Services; the first address is the API server's own Service. */
export const SERVICE_CIDR = '10.96.0.0/16'
/** Of those of IPv6, where the cluster has it. */
export const SERVICE_CIDR6 = 'fd00:10:96::/112'
export const API_SERVICE = '10.96.0.1'
export const DNS_SERVICE = '10.96.0.10'

export async function makeKubernetesCredentials(dir: string, plan: Plan): Promise<KubernetesCredentials> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const [certFile, keyFile] = [join(dir, 'tls.crt'), join(dir, 'tls.key')]
  const { address, port } = plan.api
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'].map(name => `DNS:${name}`)
  const addresses = [address, API_SERVICE, '127.0.0.1'].map(ip => `IP:${ip}`)
  await makeCertificate({ certFile, keyFile, subject: 'margay-lab', names: [...names, ...addresses] })
  const authority = readFileSync(certFile).toString('base64')
  const config = (token: string) => kubeconfigText(`https://${address}:${port}`, authority, token)
  const admin = newToken()
  const nodes = plan.nodes.map(({ name }) => ({ name, token: newToken() }))
  const users = [
    `${admin},admin,admin,"system:masters"`,
    ...nodes.map(({ name, token }) => `${token},system:node:${name},${name},"system:nodes"`),
  ]
  const usersFile = join(dir, 'users.csv')
  const adminFile = join(dir, 'admin.conf')
  writeFileSync(usersFile, `${users.join('\n')}\n`, { mode: 0o600 })
  writeFileSync(adminFile, config(admin), { mode: 0o600 })
  const kubelets = Object.fromEntries(nodes.map(({ name, token }) => [name, config(token)]))
  return { certFile, keyFile, usersFile, adminFile, kubelets }
}
