// The upper layer of the image: the programs under /opt/margay, their native libraries, the CNI plugin for the host, and
// what the image is made of.
import { readFileSync } from 'node:fs'
import { compiledProgram, type Machine } from '../cni/compile.ts'
import { packageFile } from '../lib/package-files.ts'
import type { TarEntry } from '../lib/tar.ts'
import { imageFile, NAMES } from './base.ts'
import { type Bundle, NATIVE } from './bundle.ts'
import { fetchedPackage, fileOfPackage, lockedPackage } from './npm.ts'

/** The files under /opt/margay. Throws when no compiler for the machine is here, or a package cannot be had. */
export function margayFiles(machine: Machine, version: string, { files }: Bundle): TarEntry[] {
  const imports = Object.fromEntries(NATIVE.map(name => [`#${name}`, `./native/${name}.node`]))
  const manifest = { name: 'margay', version, type: 'module', imports }
  return [
    ...[...files].map(([path, content]) => imageFile(`opt/margay/${path}`, content)),
    imageFile('opt/margay/package.json', `${JSON.stringify(manifest, undefined, 2)}\n`),
    ...NATIVE.map(name => imageFile(`opt/margay/native/${name}.node`, nativeLibrary(name, machine), 'program')),
    imageFile(`opt/margay/cni/${machine}/margay`, compiledProgram(machine), 'program'),
  ]
}

/** The npm package that has koffi's library for a machine; its licence is koffi's. */
export function koffiPackage(machine: Machine): string {
  return `@koromix/koffi-linux-${NAMES[machine].npm}`
}

function nativeLibrary(name: (typeof NATIVE)[number], machine: Machine): Buffer {
  const kind = NAMES[machine].npm
  if (name === 'netlink')
    return readFileSync(packageFile(`node_modules/netlink/prebuilds/linux-${kind}/node.napi.node`))
  const archive = fetchedPackage(lockedPackage(koffiPackage(machine)))
  return fileOfPackage(archive, `linux_${kind}/koffi.node`)
}
