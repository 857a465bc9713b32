// Files that were fetched or made once, kept below .cache/image. Each is checked when it is read again, so a damaged or
// foreign file there is replaced and never used.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageFile } from '../lib/package-files.ts'

/** Where they are, unless MARGAY_IMAGE_CACHE names another folder. */
const FOLDER = process.env['MARGAY_IMAGE_CACHE'] ?? fileURLToPath(packageFile('.cache/image'))

/** The path of the file `name`: as it is when `valid` takes what it holds, else with what `make` returns. */
export function keptFile(name: string, valid: (content: Buffer) => boolean, make: () => Uint8Array): string {
  const path = join(FOLDER, name)
  try {
    if (valid(readFileSync(path))) return path
  } catch {
    // not there yet, or not readable: made below
  }
  const content = make()
  mkdirSync(FOLDER, { recursive: true })
  const beside = `${path}.${process.pid}.new`
  writeFileSync(beside, content)
  renameSync(beside, path)
  return path
}
