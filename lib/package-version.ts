// The version of this package. Its files lie one folder deeper once they are built, so package.json is looked for.
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'

/** The `version` of package.json. Throws what the file system throws. */
export function packageVersion(): string {
  const path = findPackageJSON(import.meta.url)
  if (path === undefined) throw new Error(`no package.json above ${import.meta.filename}`)
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}
