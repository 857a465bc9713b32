// The images that Kubernetes' own end-to-end tests ask for by name, made here: nothing is pulled. Their programs are agnhost
// and coredns, which a test starts from the image of agnhost as a DNS server of its own, and, for tests that call curl, nc or
// dig in a pod, a small Debian that debootstrap makes once.
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ociArchive } from '../../image/oci.ts'
import { binary } from '../../lab/kubernetes/binaries.ts'
import type { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { MACHINE } from '../../lab/kubernetes/image-archive.ts'
import { CONTAINERD_SOCKET, SANDBOX_IMAGE } from '../../lab/kubernetes/programs.ts'
import { LabFailure } from '../../lab/lab-programs.ts'
import { runProgram } from '../../lab/program.ts'

const E2E_IMAGE = 'registry.local/margay-lab/e2e:1'

/** At the root of the image, beside each other in the folder `K8S_BIN`. */
const PROGRAMS = ['./agnhost', './coredns']
const TOOLS = ['curl', 'netcat-openbsd', 'dnsutils', 'iproute2', 'iputils-ping', 'jq', 'wget']
/** Not needed to run a program. */
const LEFT_OUT = ['./proc/*', './sys/*', './dev/*', './var/cache/*', './var/lib/apt/*', './usr/share/*']

/** Gives every node an image of each name. The folder `K8S_BIN` gets a neighbour with the Debian. */
export async function importE2eImages(lab: KubernetesLab, names: readonly string[]): Promise<void> {
  const debian = await smallDebian(join(binary('agnhost'), '../../agnhost-root'))
  const layer = join(lab.shared, 'layer.tar')
  const exclude = LEFT_OUT.map(path => `--exclude=${path}`)
  await must(['tar', ...exclude, '-cf', layer, '-C', debian, '.', '-C', join(binary('agnhost'), '..'), ...PROGRAMS])
  const settings = { machine: MACHINE, reference: E2E_IMAGE, created: '1970-01-01T00:00:00Z', user: '0:0' } as const
  const start = { entrypoint: ['/agnhost'], args: ['pause'], env: ['PATH=/:/usr/sbin:/usr/bin:/sbin:/bin'], labels: {} }
  const tar = readFileSync(layer)
  rmSync(layer)
  const { archive } = ociArchive({ ...settings, ...start }, [{ tar, comment: 'tools of the tests' }])
  writeFileSync(join(lab.shared, 'e2e.tar'), archive)
  await Promise.all(lab.plan.nodes.map(({ name }) => importOn(lab, name, names)))
}

async function importOn(lab: KubernetesLab, node: string, names: readonly string[]): Promise<void> {
  await lab.importImage(node, 'e2e.tar')
  for (const name of names) {
    const tag = ['images', 'tag', '--force', name.includes('/pause:') ? SANDBOX_IMAGE : E2E_IMAGE, name]
    const run = await lab.machine(node).run([binary('ctr'), '-a', CONTAINERD_SOCKET, '-n', 'k8s.io', ...tag])
    if (run.code !== 0) throw new LabFailure(`${node} does not name an image ${name}: ${run.stderr.trim()}`)
  }
}

async function smallDebian(folder: string): Promise<string> {
  if (existsSync(folder)) return folder
  const unfinished = `${folder}.${process.pid}`
  const argv = ['debootstrap', '--variant=minbase', `--include=${TOOLS.join(',')}`, 'bookworm', unfinished]
  await must(argv, 1_200_000)
  renameSync(unfinished, folder)
  return folder
}

async function must(argv: readonly string[], limitMs = 300_000): Promise<void> {
  const run = await runProgram(argv, { limitMs })
  if (run.code !== 0) throw new LabFailure(`${argv.join(' ')}: ${lastOf(run.stderr) || lastOf(run.stdout)}`)
}

const lastOf = (text: string) => text.trim().split('\n').at(-1) ?? ''
