// Container runtimes for real, each with the plugin as it is installed: a container's first instruction sends a packet to another
// pod of the node, and nothing is left when the container is gone. containerd through a kubelet is in test/kubernetes.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { installPlugin } from '../../cni/install.ts'
import { binary, binaryPath } from '../../lab/kubernetes/binaries.ts'
import { until } from '../../lab/program.ts'
import { findSystemProgram, systemProgram } from '../../lib/system-program.ts'
import { mountAt } from './mounts.ts'
import { addressOf, resultOf, type TestNode, withNode } from './node.ts'

const isRoot = process.getuid?.() === 0

/** A test that needs root and these programs, each a name of the system's or a path. Without them it says what is missing. */
function withPrograms(programs: readonly string[], title: string, body: (t: ExecutionContext) => Promise<void>): void {
  const missing = programs.filter(name => !existsSync(name.includes('/') ? name : (findSystemProgram(name) ?? '')))
  if (!isRoot) missing.unshift('root')
  if (missing.length === 0) test.serial(title, body)
  else
    test(title, t => {
      t.log(`skipped: it needs ${missing.join(', ')}`)
      t.pass()
    })
}

type Ran = { code: number; output: string }

type Machine = {
  node: TestNode
  folder: string
  /** The root of containers: the host's programs, which are mounted at `MOUNTS`. */
  rootfs: string
  /** The address of another pod. */
  peer: string
  /** The command line that runs a program where runtimes look for the network: in the node's namespace, with its folders. */
  placed: (argv: readonly string[]) => [string, string[]]
  run: (...argv: string[]) => Promise<Ran>
  /** The paths by which the agent entered containers, with their mounts. */
  entered: ReadonlyMap<string, string | undefined>
}

/** Of this run, in each hierarchy. */
const CGROUP = `/margay-test-${process.pid}`

/** Removes the group and those below, with the processes that a test which failed left there. */
async function removeCgroup(): Promise<void> {
  const folders = ['', ...readdirSync('/sys/fs/cgroup')].map(each => join('/sys/fs/cgroup', each, CGROUP))
  const there = folders.filter(folder => existsSync(folder))
  const isGone = (folder: string): boolean => {
    try {
      for (const pid of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean))
        process.kill(Number(pid), 'SIGKILL')
      for (const each of readdirSync(folder, { withFileTypes: true }))
        if (each.isDirectory()) isGone(join(folder, each.name))
      rmdirSync(folder)
      return true
    } catch {
      return !existsSync(folder) // a process is still ending
    }
  }
  await until(() => there.every(isGone), 10_000)
}

const MOUNTS = ['/usr']
/** Of a container: its first instruction. */
const ping = (address: string): string[] => ['/usr/bin/ping', '-c1', '-W3', address]

async function withMachine(t: ExecutionContext, body: (machine: Machine) => Promise<void>): Promise<void> {
  t.teardown(removeCgroup)
  const folder = mkdtempSync(join(tmpdir(), 'margay-runtime-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [rootfs, binDir, confDir] = ['rootfs', 'bin', 'net.d'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  for (const name of ['usr', 'proc', 'dev', 'sys', 'etc', 'run', 'tmp'])
    mkdirSync(join(rootfs, name), { recursive: true })
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(rootfs, name))
  // runtimes have these built in; a mount namespace has those of the test in their place
  for (const each of ['/etc/cni/net.d', '/opt/cni/bin', '/var/lib/cni']) mkdirSync(each, { recursive: true })
  mkdirSync(join(folder, 'results'))
  await withNode(async node => {
    installPlugin({ binDir, confDir, socket: node.socket, chain: [] })
    // /run/netns stays shared, as on a host: what the plugin mounts there the agent sees
    const mounts = [
      ...['mount --make-private /', `mount --bind ${confDir} /etc/cni/net.d`, `mount --bind ${binDir} /opt/cni/bin`],
      ...[`mount --bind ${folder}/results /var/lib/cni`, 'exec "$@"'],
    ]
    const placed = (argv: readonly string[]): [string, string[]] => [
      systemProgram('nsenter'),
      [
        ...[`--net=${node.netns}`, systemProgram('unshare'), '--mount', '--propagation', 'unchanged'],
        ...[systemProgram('sh'), '-c', mounts.join(' && '), 'sh', ...argv],
      ],
    ]
    const env = { PATH: binaryPath(), HOME: folder, XDG_RUNTIME_DIR: folder }
    const run: Machine['run'] = (...argv) =>
      new Promise(resolve => {
        execFile(...placed(argv), { env, cwd: folder }, (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : 1, output: stdout + stderr }),
        )
      })
    const other = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'peer', CNI_NETNS: node.pod() }))
    const entered = new Map<string, string | undefined>()
    node.deps.endpoints.onChange(
      ({ type, endpoint: { netns } }) => type === 'set' && entered.set(netns, mountAt(netns)),
    )
    await body({ node, folder, rootfs, peer: addressOf(other), placed, run, entered })
    t.is(node.ipam.held().size, 1, 'the address of the peer alone is held')
    for (const [path, mount] of entered) t.true(!isPinned(path) || mountAt(path) !== mount, `${path} is mounted still`)
  })
}

const isPinned = (path: string): boolean => /^\/run\/netns\/margay-\d+$/.test(path)

function succeeded(t: ExecutionContext, { code, output }: Ran): string {
  t.is(code, 0, output)
  return output
}

withPrograms(['runc'], 'runc by hand: create, ADD with the path of its process, start, delete, DEL', t =>
  withMachine(t, async ({ node, folder, rootfs, peer, run, entered }) => {
    const runc = [systemProgram('runc'), '--root', join(folder, 'runc')]
    succeeded(t, await run(...runc, 'spec', '--bundle', folder))
    const { default: spec } = await import(join(folder, 'config.json'), { with: { type: 'json' } })
    spec.process = { ...spec.process, terminal: false, args: ping(peer) }
    for (const set of Object.values<string[]>(spec.process.capabilities)) set.push('CAP_NET_RAW')
    spec.root = { path: rootfs, readonly: true }
    spec.linux.cgroupsPath = `${CGROUP}/runc`
    for (const each of MOUNTS)
      spec.mounts.push({ destination: each, type: 'bind', source: each, options: ['rbind', 'ro'] })
    writeFileSync(join(folder, 'config.json'), JSON.stringify(spec))
    const env = { CNI_CONTAINERID: 'by-hand', CNI_ARGS: 'IgnoreUnknown=1' }
    t.teardown(() => run(...runc, 'delete', '--force', 'by-hand'))
    for (const _ of ['a container', 'another one of the same id']) {
      const log = join(folder, 'output')
      const create = ['sh', '-c', `exec "$@" >${log} 2>&1 </dev/null`, 'sh', ...runc]
      t.is((await run(...create, 'create', '--bundle', folder, 'by-hand')).code, 0)
      const { pid } = JSON.parse(succeeded(t, await run(...runc, 'state', 'by-hand')))
      resultOf(t, await node.run('ADD', { ...env, CNI_NETNS: `/proc/${pid}/ns/net` }))
      succeeded(t, await run(...runc, 'start', 'by-hand'))
      const state = async (): Promise<string> => JSON.parse((await run(...runc, 'state', 'by-hand')).output).status
      t.true(await until(async () => (await state()) === 'stopped', 20_000))
      t.regex((await run('cat', log)).output, / 0% packet loss/)
      succeeded(t, await run(...runc, 'delete', 'by-hand'))
      t.is((await node.run('DEL', { ...env, CNI_NETNS: `/proc/${pid}/ns/net` })).code, 0)
    }
    t.true([...entered.keys()].every(isPinned), [...entered].join())
  }),
)

/** Of CRI-O's container: as the other ones, the host's programs. */
const IMAGE = 'localhost/margay-test:1'

const CONTAINERD = ['containerd', 'ctr', 'containerd-shim-runc-v2'] as const

withPrograms(
  ['runc', ...CONTAINERD.map(binary)],
  'ctr run --cni: containerd without Kubernetes names the namespace by its process',
  t =>
    withMachine(t, async ({ folder, rootfs, peer, placed, run, entered }) => {
      const socket = join(folder, 'containerd.sock')
      const config = join(folder, 'containerd.toml')
      writeFileSync(
        config,
        `version = 3\nroot = "${folder}/root"\nstate = "${folder}/state"\n` +
          'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]\n' +
          `[grpc]\n  address = "${socket}"\n[ttrpc]\n  address = "${socket}.ttrpc"\n`,
      )
      const env = { PATH: binaryPath() }
      const daemon = spawn(...placed([binary('containerd'), '-c', config]), { env, stdio: 'ignore' })
      const ended = once(daemon, 'exit')
      t.teardown(async () => {
        daemon.kill('SIGTERM')
        await ended
      })
      const ctr = (...args: string[]): Promise<Ran> => run(binary('ctr'), '--address', socket, ...args)
      t.true(await until(async () => (await ctr('version')).code === 0, 30_000))
      const mounts = MOUNTS.flatMap(each => ['--mount', `type=bind,src=${each},dst=${each},options=rbind:ro`])
      const args = ['--rootfs', '--read-only', '--cgroup', `${CGROUP}/ctr`, ...mounts]
      const ran = await ctr('run', '--rm', '--cni', ...args, rootfs, 'c1', ...ping(peer))
      t.regex(succeeded(t, ran), / 0% packet loss/)
      t.true([...entered.keys()].every(isPinned) && entered.size === 1, [...entered].join())
    }),
)

withPrograms(
  ['podman', 'conmon', 'runc'],
  'podman with its CNI backend runs a container in a namespace that it names, and removes it whole',
  t =>
    withMachine(t, async ({ folder, rootfs, peer, run, entered }) => {
      const conf = join(folder, 'containers.conf')
      writeFileSync(
        conf,
        '[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["/opt/cni/bin"]\nnetwork_config_dir = "/etc/cni/net.d"\n' +
          // where the group of the test has no controller for processes, a limit of podman's own is refused
          'default_network = "margay"\n[containers]\npids_limit = 0\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "runc"\n',
      )
      const podman = (...args: string[]): Promise<Ran> => {
        const folders = ['--root', `${folder}/store`, '--runroot', `${folder}/runroot`, '--tmpdir', `${folder}/tmp`]
        const env = [`CONTAINERS_CONF=${conf}`, 'STORAGE_DRIVER=vfs', `PATH=${binaryPath()}`]
        return run('env', ...env, systemProgram('podman'), ...folders, ...args)
      }
      const mounts = MOUNTS.flatMap(each => ['--volume', `${each}:${each}:ro`])
      const args = [
        ...['--network', 'margay', '--cap-add', 'NET_RAW', '--security-opt', 'seccomp=unconfined', ...mounts],
        // without CAP_SYS_RESOURCE, as in some virtual machines, podman's own limits are refused
        ...['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024', '--cgroup-parent', CGROUP],
      ]
      const ran = await podman('run', '--rm', ...args, '--rootfs', rootfs, ...ping(peer))
      t.regex(succeeded(t, ran), / 0% packet loss/)
      t.true([...entered.keys()].every(path => !isPinned(path)) && entered.size === 1, [...entered].join())
    }),
)

withPrograms(
  ['podman', 'conmon', 'runc', ...(['crio', 'pinns', 'crictl'] as const).map(binary)],
  'CRI-O runs a pod in a namespace that it pins, and removes it whole',
  t =>
    withMachine(t, async ({ folder, rootfs, peer, placed, run, entered, node }) => {
      const path = (name: string): string => join(folder, name)
      // podman writes the store that CRI-O reads: an image without a registry
      const store = ['--root', path('store'), '--runroot', path('runroot')]
      const podman = (...args: string[]): Promise<Ran> =>
        run(systemProgram('podman'), ...store, '--storage-driver', 'vfs', '--tmpdir', path('tmp'), ...args)
      succeeded(t, await run('tar', '-C', rootfs, '-cf', path('rootfs.tar'), '.'))
      succeeded(t, await podman('import', path('rootfs.tar'), IMAGE))
      writeFileSync(path('policy.json'), '{ "default": [{ "type": "insecureAcceptAnything" }] }')
      writeFileSync(
        path('crio.conf'),
        `[crio]\nroot = "${path('store')}"\nrunroot = "${path('runroot')}"\nstorage_driver = "vfs"\n` +
          `log_dir = "${path('log')}"\nversion_file = "${path('version')}"\nversion_file_persist = ""\n` +
          `clean_shutdown_file = "${path('clean')}"\n[crio.api]\nlisten = "${path('crio.sock')}"\n` +
          `[crio.runtime]\nconmon_cgroup = "pod"\ncgroup_manager = "cgroupfs"\npinns_path = "${binary('pinns')}"\n` +
          `default_runtime = "runc"\nseccomp_profile = "unconfined"\napparmor_profile = "unconfined"\n` +
          `container_exits_dir = "${path('exits')}"\ncontainer_attach_socket_dir = "${path('attach')}"\n` +
          `irqbalance_config_file = ""\n` +
          `[crio.runtime.runtimes.runc]\nruntime_path = "${systemProgram('runc')}"\nruntime_root = "${path('runc')}"\n` +
          `monitor_path = "${systemProgram('conmon')}"\nmonitor_cgroup = "pod"\n` +
          `[crio.image]\npause_image = "${IMAGE}"\nsignature_policy = "${path('policy.json')}"\n` +
          '[crio.network]\nnetwork_dir = "/etc/cni/net.d"\nplugin_dirs = ["/opt/cni/bin"]\n[crio.nri]\nenable_nri = false\n',
      )
      writeFileSync(path('crictl.yaml'), `runtime-endpoint: unix://${path('crio.sock')}\ntimeout: 60\n`)
      const crictl = (...args: string[]): Promise<Ran> =>
        run(binary('crictl'), '--config', path('crictl.yaml'), ...args)
      const argv = [binary('crio'), '--config', path('crio.conf'), '--config-dir', path('none')]
      const daemon = spawn(...placed(argv), { env: { PATH: binaryPath(), HOME: folder }, stdio: 'ignore' })
      const ended = once(daemon, 'exit')
      t.teardown(async () => {
        daemon.kill('SIGTERM')
        await ended
      })
      const isReady = async () => /true,\s*"type": "NetworkReady"/.test((await crictl('info')).output)
      t.true(await until(isReady, 60_000), (await crictl('info')).output)

      // with PIDs of its own for each container, CRI-O needs no process to hold the pod
      const namespaces = { namespace_options: { network: 0, pid: 1 } }
      const pod = {
        metadata: { name: 'p1', uid: 'p1', namespace: 'default', attempt: 0 },
        log_directory: path('log'),
        linux: { cgroup_parent: CGROUP, security_context: namespaces },
      }
      const container = {
        metadata: { name: 'c1' },
        image: { image: IMAGE },
        command: ping(peer),
        log_path: 'c1.log',
        mounts: MOUNTS.map(each => ({ container_path: each, host_path: each, readonly: true })),
        linux: { security_context: { ...namespaces, capabilities: { add_capabilities: ['NET_RAW'] } } },
      }
      writeFileSync(path('pod.json'), JSON.stringify(pod))
      writeFileSync(path('container.json'), JSON.stringify(container))
      const sandbox = succeeded(t, await crictl('runp', path('pod.json'))).trim()
      const id = succeeded(t, await crictl('create', sandbox, path('container.json'), path('pod.json'))).trim()
      succeeded(t, await crictl('start', id))
      const exited = async () => /CONTAINER_EXITED/.test((await crictl('inspect', id)).output)
      t.true(await until(exited, 30_000))
      t.regex(succeeded(t, await crictl('logs', id)), / 0% packet loss/)
      t.is(node.ipam.held().size, 2)
      succeeded(t, await crictl('stopp', sandbox))
      succeeded(t, await crictl('rmp', sandbox))
      t.true([...entered.keys()].every(each => !isPinned(each)) && entered.size === 1, [...entered].join())
    }),
)
