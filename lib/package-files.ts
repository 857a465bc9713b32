// Files of this package that are not imported. They are found from package.json: the published package has programs in one
// file each under dist/, so what lies beside a module in the source does not lie beside it there. The container image has
// them beside its package.json.
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** Whether this is the published package or the image, made of JavaScript. */
export const isBuilt = import.meta.filename.endsWith('.js')

/** The `version` of package.json. Throws what the file system throws. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(packageJson(), 'utf8')) as { version: string }).version
}

/** A file that stays as it is by its path in the source, such as `cni/plugin.c`; below `dist` in the published package. */
export function packageFile(path: string): URL {
  const manifest = packageJson()
  const below = import.meta.filename.startsWith(join(dirname(manifest), 'dist/')) ? 'dist/' : ''
  return new URL(`${below}${path}`, pathToFileURL(manifest))
}

/** A program by its path in the source without its ending, such as `ctl/main`: `.ts` there, `.js` once built. */
export function programFile(path: string): URL {
  return packageFile(`${path}.${isBuilt ? 'js' : 'ts'}`)
}

function packageJson(): string {
  const path = findPackageJSON(import.meta.url)
  if (path === undefined) throw new Error(`no package.json above ${import.meta.filename}`)
  return path
}
