// The texts of all licences in one file, a section for each part of the image. A part without a text of its own says so,
// with the licence that its package names.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageFile } from '../lib/package-files.ts'
import type { UnpackedPackage } from './debian.ts'
import { lockedPackage } from './npm.ts'

/** The texts that Debian's copyright files refer to, the same on every Debian and Ubuntu, with their SHA-256. */
const COMMON = {
  'GPL-2': '8177f97513213526df2cf6184d8ff986c675afb514d4e68a404010521b880643',
  'GPL-3': '3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986',
  'LGPL-2.1': 'dc626520dcd53a22f727af3ee42c770e56c97a64fe3adb063799d8ab032fe551',
  'MPL-2.0': 'fab3dd6bdab226f1c08630b1dd917e11fcb4ec5e1e020e2c16f83a0a13863e85',
} as const

/** All texts. `npmPackages` are names in package-lock.json; `nodeLicense` is Node's text, with those of its own parts. */
export function licenseTexts(
  npmPackages: readonly string[],
  debian: readonly UnpackedPackage[],
  nodeLicense: Buffer,
): string {
  const sections: [string, string][] = [
    ['Margay', readFileSync(packageFile('LICENSE'), 'utf8')],
    ['Node.js', nodeLicense.toString('utf8')],
    ...npmPackages.map((name): [string, string] => [`${name} ${lockedPackage(name).version}`, textOfPackage(name)]),
    ...debian.flatMap(({ name, version, folder }): [string, string][] => {
      // two packages keep theirs in gcc-12-base
      const path = join(folder, `usr/share/doc/${name}/copyright`)
      return existsSync(path) ? [[`${name} ${version} (Debian)`, readFileSync(path, 'utf8')]] : []
    }),
    ...Object.entries(COMMON).map(([name, sha256]): [string, string] => [name, commonText(name, sha256)]),
  ]
  return sections
    .map(([title, text]) => `${'='.repeat(80)}\n${title}\n${'='.repeat(80)}\n\n${text.trim()}\n`)
    .join('\n')
}

function textOfPackage(name: string): string {
  const folder = fileURLToPath(packageFile(`node_modules/${name}`))
  const files = readdirSync(folder)
    .filter(file => /^(licen[cs]e|copying|notice)/i.test(file))
    .sort()
  if (files.length === 0)
    return `The package has no file with a licence text; it names the licence ${lockedPackage(name).license}.`
  return files.map(file => readFileSync(join(folder, file), 'utf8').trim()).join('\n\n')
}

function commonText(name: string, sha256: string): string {
  const path = `/usr/share/common-licenses/${name}`
  const text = existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
  if (createHash('sha256').update(text).digest('hex') !== sha256)
    throw new Error(`${path} is not the text that the image needs: install Debian's package base-files`)
  return text.toString('utf8')
}
