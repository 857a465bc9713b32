// The lower layer of the image: Node, the C libraries that it and the native libraries need, CA certificates and the few
// files of /etc that they read. No shell, no package manager, no program but Node. Changes with the pinned versions alone.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Machine } from '../cni/compile.ts'
import { systemProgram } from '../lib/system-program.ts'
import type { TarEntry } from '../lib/tar.ts'
import type { UnpackedPackage } from './debian.ts'
import { fileOfPackage } from './npm.ts'

/** What the names of files hold of a kind of machine: Debian's folder, the kernel's path of the loader, npm's word. */
export const NAMES = {
  amd64: { triplet: 'x86_64-linux-gnu', loader: 'lib64/ld-linux-x86-64.so.2', npm: 'x64' },
  arm64: { triplet: 'aarch64-linux-gnu', loader: 'lib/ld-linux-aarch64.so.1', npm: 'arm64' },
} as const satisfies Record<Machine, { triplet: string; loader: string; npm: string }>

/** The user without rights that the image names: all programs but the agent, which needs root, can run as it. */
export const USER = 65532
/** For whoever looks for known faults in the packages; those that are here stand in var/lib/dpkg/status.d. */
const OS_RELEASE = 'PRETTY_NAME="Margay image, with libraries of Debian 12"\nID=debian\nVERSION_ID="12"\n'

/** A file that everybody may read, and execute when it is a program. */
export function imageFile(path: string, content: Uint8Array | string, kind: 'data' | 'program' = 'data'): TarEntry {
  return { path, content: Buffer.from(content), mode: kind === 'program' ? 0o755 : 0o644 }
}

/** The files with all folders above them, sorted, so that a layer does not depend on the order in which they were made. */
export function layerEntries(files: readonly TarEntry[]): TarEntry[] {
  const all = new Map<string, TarEntry>()
  for (const file of files) {
    const parts = file.path.split('/')
    for (let i = 1; i < parts.length; i++) {
      const path = parts.slice(0, i).join('/')
      if (!all.has(path)) all.set(path, { path, mode: 0o755 })
    }
    all.set(file.path, file)
  }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** The files of the lower layer. `nodeArchive` is the npm package that has Node for the machine. */
export function baseFiles(machine: Machine, packages: readonly UnpackedPackage[], nodeArchive: string): TarEntry[] {
  const { triplet, loader } = NAMES[machine]
  const folderOf = (name: string) => packages.find(each => each.name === name)!.folder
  const library = (name: string, path: string, to = path) =>
    imageFile(to, readFileSync(join(folderOf(name), path)), 'program')
  return [
    imageFile('usr/bin/node', stripped(fileOfPackage(nodeArchive, 'bin/node'), triplet), 'program'),
    library('libc6', `lib/${triplet}/${loader.replace(/.*\//, '')}`, loader),
    ...['libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0'].map(file =>
      library('libc6', `lib/${triplet}/${file}`),
    ),
    library('libgcc-s1', `lib/${triplet}/libgcc_s.so.1`),
    library('libstdc++6', `usr/lib/${triplet}/libstdc++.so.6`),
    imageFile('etc/ssl/certs/ca-certificates.crt', certificates(folderOf('ca-certificates'))),
    imageFile('etc/passwd', `root:x:0:0:root:/:/sbin/nologin\nmargay:x:${USER}:${USER}:margay:/:/sbin/nologin\n`),
    imageFile('etc/group', `root:x:0:\nmargay:x:${USER}:\n`),
    imageFile('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n'),
    imageFile('etc/os-release', OS_RELEASE),
    ...packages.map(({ name, control }) => imageFile(`var/lib/dpkg/status.d/${name}`, `${control}\n`)),
    { path: 'tmp', mode: 0o1777 },
  ]
}

/** All certificates of Mozilla's list, as `update-ca-certificates` joins them. */
function certificates(folder: string): string {
  const place = join(folder, 'usr/share/ca-certificates/mozilla')
  const texts = readdirSync(place)
    .sort()
    .map(name => readFileSync(join(place, name), 'utf8').trimEnd())
  return `${texts.join('\n')}\n`
}

/** Node without its table of symbols, 18 of 126 MB, which only debuggers read. */
function stripped(program: Buffer, triplet: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'margay-strip-'))
  const file = join(folder, 'node')
  try {
    writeFileSync(file, program)
    execFileSync(systemProgram(`${triplet}-strip`), ['--strip-all', file])
    return readFileSync(file)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
