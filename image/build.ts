// Puts an image together: two layers, the settings, the SBOM and the licences. The same commit gives the same octets:
// nothing of the clock, the user, the folder or the order of files gets in. What is left is the tools: the same gzip,
// strip and C compiler are needed, which Debian 12 has.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Machine } from '../cni/compile.ts'
import { packageFile, packageVersion } from '../lib/package-files.ts'
import { findSystemProgram, SYSTEM_PATH, systemProgram } from '../lib/system-program.ts'
import { type TarEntry, tarArchive } from '../lib/tar.ts'
import { baseFiles, imageFile, layerEntries, NAMES, USER } from './base.ts'
import { type Bundle, ENV } from './bundle.ts'
import { debianPackages, type UnpackedPackage } from './debian.ts'
import { keptFile } from './kept.ts'
import { licenseTexts } from './licenses.ts'
import { koffiPackage, margayFiles } from './margay.ts'
import { fetchedPackage, fileOfPackage, type LockedPackage, lockedPackage } from './npm.ts'
import { type Layer, ociArchive } from './oci.ts'
import { type Component, spdxDocument } from './sbom.ts'

export type BuiltImage = {
  archive: Buffer
  reference: string
  /** Of the manifest. */
  digest: string
  /** What a registry sends: all layers, compressed. */
  compressedOctets: number
  sbom: string
  licenses: string
}

/** The image for a kind of machine. Throws with what is missing when a part cannot be fetched, checked or made. */
export async function buildImage(machine: Machine, bundle: Bundle): Promise<BuiltImage> {
  const folder = await mkdtemp(join(tmpdir(), 'margay-image-'))
  try {
    const version = packageVersion()
    const { created, revision } = commit()
    const node = lockedPackage(`node-linux-${NAMES[machine].npm}`)
    const nodeArchive = fetchedPackage(node)
    const debian = debianPackages(machine, folder)
    const base = layerEntries(baseFiles(machine, debian, nodeArchive))
    const programs = margayFiles(machine, version, bundle)

    const licenses = licenseTexts(bundle.packages, debian, fileOfPackage(nodeArchive, 'LICENSE'))
    const components = componentsOf(version, node, lockedPackage(koffiPackage(machine)), bundle.packages, debian)
    const namespace = `${machine}-${createHash('sha256')
      .update(tarArchive(layerEntries(programs)))
      .digest('hex')}`
    const sbom = text(spdxDocument({ name: 'margay', version, created, namespace }, components))
    const upper = layerEntries([
      ...programs,
      imageFile('usr/share/doc/margay/margay.spdx.json', sbom),
      imageFile('usr/share/doc/margay/licenses.txt', licenses),
    ])

    const layers = [layer(base, 'Node.js and the C libraries that it needs'), layer(upper, `Margay ${version}`)]
    const reference = `docker.io/margay/margay:${version}`
    const labels = {
      'org.opencontainers.image.title': 'margay',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.created': created,
      ...(revision === undefined ? {} : { 'org.opencontainers.image.revision': revision }),
    }
    const user = `${USER}:${USER}`
    const settings = {
      machine,
      reference,
      created,
      user,
      entrypoint: ['/usr/bin/node'],
      env: Object.entries(ENV).map(([name, value]) => `${name}=${value}`),
      labels,
    }
    const compressedOctets = layers.reduce((sum, { gzip }) => sum + gzip.length, 0)
    return { ...ociArchive(settings, layers), reference, compressedOctets, sbom, licenses }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function layer(entries: readonly TarEntry[], comment: string): Layer & { gzip: Buffer } {
  const tar = tarArchive(entries)
  return { tar, gzip: compressed(tar), comment }
}

/** gzip's own program: what Node's zlib writes differs with the processor. 15 s for Node, so what was made is kept. */
function compressed(tar: Buffer): Buffer {
  const options = { maxBuffer: 1 << 30, env: { PATH: SYSTEM_PATH } }
  const name = `layer-${createHash('sha256').update(tar).digest('hex')}.gz`
  const unpack = (gzip: Buffer) => execFileSync(systemProgram('gzip'), ['-dc'], { ...options, input: gzip })
  const pack = () => execFileSync(systemProgram('gzip'), ['-nc', '-6'], { ...options, input: tar })
  return readFileSync(keptFile(name, gzip => unpack(gzip).equals(tar), pack))
}

/** The commit that is checked out and its time; the time of SOURCE_DATE_EPOCH where it is set, 1970 without either. */
function commit(): { created: string; revision?: string } {
  const git = findSystemProgram('git')
  const cwd = fileURLToPath(packageFile('.'))
  const ask = (...words: string[]) => {
    try {
      // the folder may belong to another user than ours
      const args = ['-c', 'safe.directory=*', ...words]
      const env = { PATH: SYSTEM_PATH, LC_ALL: 'C' }
      return execFileSync(git!, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    } catch {
      return undefined
    }
  }
  const [hash, seconds] = git === undefined ? [] : (ask('log', '-1', '--format=%H %ct')?.split(' ') ?? [])
  const changed = hash !== undefined && ask('status', '--porcelain', '--untracked-files=no') !== ''
  const time = Number(process.env['SOURCE_DATE_EPOCH'] ?? seconds ?? 0)
  return {
    created: new Date(time * 1000).toISOString().replace('.000Z', 'Z'),
    ...(hash === undefined ? {} : { revision: changed ? `${hash}-changed` : hash }),
  }
}

function componentsOf(
  version: string,
  node: LockedPackage,
  koffi: LockedPackage,
  npmPackages: readonly string[],
  debian: readonly UnpackedPackage[],
): Component[] {
  const fromNpm = ({ name, version, license, integrity }: LockedPackage): Component => ({
    ...{ name, version, license, purl: `pkg:npm/${name.replace('@', '%40')}@${version}` },
    checksum: { algorithm: 'SHA512', hex: Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex') },
  })
  return [
    { name: 'margay', version, license: 'Apache-2.0', purl: `pkg:npm/margay@${version}` },
    { name: 'node', version: node.version, license: 'MIT', purl: `pkg:generic/node@${node.version}` },
    ...[node, koffi, ...npmPackages.map(lockedPackage)].map(fromNpm),
    ...debian.map(
      ({ name, version, license, machine, sha256, source }): Component => ({
        ...{ name, version, license, source, checksum: { algorithm: 'SHA256', hex: sha256 } },
        purl: `pkg:deb/debian/${name.replaceAll('+', '%2B')}@${encodeURIComponent(version)}?arch=${machine}&distro=debian-12`,
      }),
    ),
  ]
}

function text(value: object): string {
  return `${JSON.stringify(value, undefined, 2)}\n`
}
