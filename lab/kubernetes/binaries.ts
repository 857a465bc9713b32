// The programs of a real Kubernetes that the lab starts. They are built from source by whoever runs the lab, so that nothing
// is downloaded here: `K8S_BIN` names the folder that holds them.
import { accessSync, constants } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { findSystemProgram, SYSTEM_PATH } from '../../lib/system-program.ts'

const NAMES = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
  'kubectl',
  'containerd',
  'containerd-shim-runc-v2',
  'ctr',
  'agnhost',
  'coredns',
] as const

/**
 * `helm` is for a test of the chart alone. `e2e.test` (go test -c k8s.io/kubernetes/test/e2e) is for
 * `npm run test:kubernetes -- --e2e` alone, and so are `cnp-conformance.test` (go test -c sigs.k8s.io/network-policy-api/conformance)
 * and the CRD that it needs (config/crd/experimental there). `crio` and `pinns` (CRI-O's repository: go build ./cmd/crio, make
 * in pinns) and `crictl` are for a test of that runtime.
 */
export type BinaryName =
  | (typeof NAMES)[number]
  | ('e2e.test' | 'helm' | 'cnp-conformance.test' | 'cnp-crd.yaml')
  | ('crio' | 'pinns' | 'crictl')

/** What the machine itself must have, and Debian's package of each. */
const SYSTEM: readonly (readonly [program: string, debian: string])[] = [
  ['runc', 'runc'],
  ['nft', 'nftables'],
  ['iptables', 'iptables'],
  ['conntrack', 'conntrack'],
  ['openssl', 'openssl'],
  ['unshare', 'util-linux'],
  ['mount', 'mount'],
  ['curl', 'curl'],
  ['ping', 'iputils-ping'],
  ['sysctl', 'procps'],
]

/** The folder of the programs: `K8S_BIN`, or where the usual build puts them. */
function binaryFolder(): string {
  return process.env['K8S_BIN'] ?? join(homedir(), '.cache/margay-k8s/bin')
}

/** The PATH of Kubernetes' own programs, which look for each other and for the machine's. */
export function binaryPath(): string {
  return `${binaryFolder()}:${SYSTEM_PATH}`
}

/** The path of one program. */
export function binary(name: BinaryName): string {
  return join(binaryFolder(), name)
}

/** Undefined when a Kubernetes can be started here; else what is missing, and how to get it. */
export function kubernetesProblem(): string | undefined {
  if (process.geteuid?.() !== 0) return 'a Kubernetes on this machine needs root: it makes control groups and mounts'
  const absent = NAMES.filter(name => !isExecutable(binary(name)))
  const system = SYSTEM.filter(([program]) => findSystemProgram(program) === undefined).map(([, debian]) => debian)
  const lines: string[] = []
  if (absent.length > 0)
    lines.push(
      `${binaryFolder()} has no ${absent.join(', ')}: build Kubernetes 1.36, etcd 3.7, containerd 2.4 and coredns 1.14 from`,
      '  their Go modules (go build k8s.io/kubernetes/cmd/kubelet and so on; agnhost: k8s.io/kubernetes/test/images/agnhost),',
      '  static (CGO_ENABLED=0), and name the folder in K8S_BIN',
    )
  if (system.length > 0) lines.push(`on Debian, as root: apt-get install --no-install-recommends ${system.join(' ')}`)
  return lines.length === 0 ? undefined : lines.join('\n')
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
