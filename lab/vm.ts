// Runs a command as root on Debian's stock kernel in QEMU, over this machine's own file system: read-only below, a
// throw-away layer in memory above, so there is no image to build and nothing to clean. That kernel has what a
// container host's often lacks (ipip). Always software emulation (KVM inside of another virtual machine is often broken),
// so programs run some ten times slower.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { findSystemProgram, SYSTEM_PATH, systemProgram } from '../lib/system-program.ts'
import { type ArchiveEntry, archive } from './cpio.ts'
import { COMPILE_CACHE } from './program.ts'

export type VmOptions = {
  /** Directory the command starts in, a path of this machine. */
  cwd: string
  /** The whole run, boot included; past it the machine is ended and the exit code is 124. */
  limitSeconds: number
  /** Added to a small fixed environment (PATH, HOME). */
  env?: Readonly<Record<string, string>>
  memoryMiB?: number
  cpus?: number
  /** Receive the command's output as it arrives. */
  stdout: (text: string) => void
  stderr: (text: string) => void
  /** Ends the machine early. */
  signal?: AbortSignal
}

/** What the lab starts. */
const LAB_PROGRAMS = ['agent/main', 'apiserver/main', 'lab/objects']

/** Kernel modules loaded before the command runs; a missing one is no error here. */
const MODULES = [
  'veth',
  'bridge',
  'vxlan',
  'ipip',
  'nf_tables',
  'nft_chain_nat',
  'nft_ct',
  'dummy',
  'bonding',
  '8021q',
  'af_packet',
  'virtio_console',
] as const

/** What must be loaded before the machine can see the file system. */
const BOOT_MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'] as const

/** The newest kernel of Debian here, or undefined: a machine without one cannot run the virtual machine. */
function installedKernel(): { image: string; version: string } | undefined {
  const images = globSync('/boot/vmlinuz-*-amd64').sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  const image = images.at(-1)
  return image === undefined ? undefined : { image, version: basename(image).slice('vmlinuz-'.length) }
}

/** What `lab --vm` needs and this machine lacks, as Debian package names; empty when it can run. */
export function missingForVm(): string[] {
  const found = (name: string) => findSystemProgram(name) !== undefined
  const missing: string[] = []
  if (process.arch !== 'x64') missing.push('an amd64 machine')
  if (!found('qemu-system-x86_64')) missing.push('qemu-system-x86')
  if (installedKernel() === undefined) missing.push('linux-image-amd64')
  if (!found('busybox')) missing.push('busybox-static')
  if (!found('modprobe')) missing.push('kmod')
  return missing
}

/**
 * Builds `program`, a path in the source without its ending, and what a lab starts, for the virtual machine. Returns the
 * program's path there and the environment to run it in. Throws what the build says.
 */
export async function buildForVm(program: string): Promise<{ program: string; env: Record<string, string> }> {
  const { buildPrograms } = await import('./built-programs.ts') // nothing else needs the bundler
  const folder = await buildPrograms([...LAB_PROGRAMS, program], COMPILE_CACHE)
  // an emulator translates what V8 compiles once more, which costs more than it saves
  const env = { NODE_COMPILE_CACHE: COMPILE_CACHE, NODE_OPTIONS: '--jitless' }
  return { program: join(folder, `${program}.js`), env }
}

/** Runs `command` in a fresh virtual machine and resolves with its exit code; 124 when it ended without one. */
export async function runInVm(command: readonly string[], options: VmOptions): Promise<number> {
  const kernel = installedKernel()
  if (kernel === undefined) throw new Error('no Debian kernel in /boot: install linux-image-amd64')
  const work = mkdtempSync(join(tmpdir(), 'margay-vm-'))
  try {
    const initrd = join(work, 'initrd')
    writeFileSync(initrd, archive(initialFiles(kernel.version, script(command, options))))
    const status = join(work, 'status')
    const console = join(work, 'console')
    const qemu = spawn(
      systemProgram('qemu-system-x86_64'),
      [
        // V8 guards its compiled code with protection keys where the CPU has them; emulated, they sometimes kill Node.
        ...['-accel', 'tcg,thread=multi', '-cpu', 'max,pku=off'],
        ...['-smp', String(options.cpus ?? 2), '-m', `${options.memoryMiB ?? 2048}M`],
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-nic', 'none'],
        // ttyS0 is the kernel's console, ttyS1 takes the exit code. Output goes through ports that wait until they
        // were read, so that lines of stdout and stderr keep their order.
        ...['-serial', `file:${console}`, '-serial', `file:${status}`, '-device', 'virtio-serial-pci'],
        ...['-chardev', 'socket,id=stdout,fd=3', '-device', 'virtserialport,chardev=stdout,name=stdout,nr=1'],
        ...['-chardev', 'socket,id=stderr,fd=4', '-device', 'virtserialport,chardev=stderr,name=stderr,nr=2'],
        ...['-kernel', kernel.image, '-initrd', initrd],
        ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on'],
        ...['-fsdev', 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap'],
        ...['-device', 'virtio-9p-pci,fsdev=host,mount_tag=host', '-device', 'virtio-rng-pci'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] },
    )
    let complaint = ''
    qemu.stderr!.setEncoding('utf8').on('data', text => {
      complaint += text
    })
    for (const [fd, take] of [
      [3, options.stdout],
      [4, options.stderr],
    ] as const)
      (qemu.stdio[fd] as Socket).setEncoding('utf8').on('data', take)
    const late = await ended(qemu, options)
    const code = existsSync(status) ? readFileSync(status, 'utf8').trim() : ''
    if (/^\d+$/.test(code)) return Number(code)
    const told = [complaint.trim(), existsSync(console) ? readFileSync(console, 'utf8').trim().slice(-2000) : '']
    options.stderr(`the virtual machine ended without a result${late}\n${told.filter(Boolean).join('\n')}\n`)
    return 124
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Resolves when QEMU is gone, ending it when its time is up; says why in words when it was ended. */
function ended(qemu: ChildProcess, { limitSeconds, signal }: VmOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    let why = ''
    const end = (reason: string) => {
      why = reason
      qemu.kill('SIGKILL')
    }
    const timer = setTimeout(() => end(`: its ${limitSeconds} s were over`), limitSeconds * 1000)
    const abort = () => end(': interrupted')
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted) abort()
    qemu.on('error', reject)
    qemu.on('close', () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      resolve(why)
    })
  })
}

/** The initial RAM disk: busybox, the modules that reach the file system, `/init`, and the command. */
function initialFiles(version: string, command: string): ArchiveEntry[] {
  const modules = modulePaths(version)
  const init = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
${modules.map(path => `$b insmod /modules/${basename(path)}`).join('\n')}
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro host /lower || $b poweroff -f
$b mount -t tmpfs t /upper; $b mkdir /upper/data /upper/work
$b mount -t overlay o -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work /all || $b poweroff -f
for d in dev proc sys; do $b mount --move /$d /all/$d; done
$b mount -t tmpfs t /all/run; $b mkdir -p /all/run/netns
$b cp /command /all/run/command
exec $b switch_root /all /bin/sh /run/command
`
  return [
    ...['bin', 'modules', 'proc', 'sys', 'dev', 'lower', 'upper', 'all'].map(name => ({ name })),
    { name: 'bin/busybox', content: readFileSync(systemProgram('busybox')), executable: true },
    ...modules.map(path => ({ name: `modules/${basename(path)}`, content: readFileSync(path) })),
    { name: 'init', content: Buffer.from(init), executable: true },
    { name: 'command', content: Buffer.from(command) },
  ]
}

/** The boot modules and what they depend on, in load order. */
function modulePaths(version: string): string[] {
  const paths = new Set<string>()
  for (const name of BOOT_MODULES) {
    const depends = execFileSync(systemProgram('modprobe'), ['--show-depends', '-S', version, name], {
      encoding: 'utf8',
    })
    for (const [, path] of depends.matchAll(/^insmod (\S+)/gm)) paths.add(path!)
  }
  return [...paths]
}

/** What runs as process 1: its output to two ports, the exit code to a serial line, then the end. */
function script(command: readonly string[], { cwd, env = {} }: VmOptions): string {
  const exports = Object.entries({ ...env, HOME: '/root', IN_VM: '1' }).map(
    ([name, value]) => `export ${name}=${quoted(value)}`,
  )
  return `export PATH=${SYSTEM_PATH}
${exports.join('\n')}
ip link set lo up
for m in ${MODULES.join(' ')}; do modprobe -q $m; done
cd ${quoted(cwd)}
${command.map(quoted).join(' ')} </dev/null >"$(echo /dev/vport*p1)" 2>"$(echo /dev/vport*p2)"
echo $? >/dev/ttyS1
stty -F /dev/ttyS1 sane # waits until it is written
echo b >/proc/sysrq-trigger
sleep 9
`
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}
