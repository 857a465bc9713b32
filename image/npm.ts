// Packages of package-lock.json for another kind of machine than this one: `npm ci` leaves them out, so they are fetched by
// npm from the registry that it is set up for, and compared with the digest of the lock file.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageFile } from '../lib/package-files.ts'
import { findSystemProgram, SYSTEM_PATH, systemProgram } from '../lib/system-program.ts'
import { keptFile } from './kept.ts'

export type LockedPackage = { name: string; version: string; license: string; integrity: string }

type LockFile = { packages: Record<string, { version: string; license?: string; integrity?: string }> }

/** The npm that runs us, or the machine's; with its own Node, since Debian's npm does not run on another one. */
function npmCommand(): string[] | undefined {
  const { npm_node_execpath: node, npm_execpath: script } = process.env
  if (node !== undefined && script !== undefined) return [node, script]
  const program = findSystemProgram('npm')
  return program === undefined ? undefined : [program]
}

/** What package-lock.json says of a package. Throws when it does not have it, or has no SHA-512 of it. */
export function lockedPackage(name: string): LockedPackage {
  const lock = JSON.parse(readFileSync(packageFile('package-lock.json'), 'utf8')) as LockFile
  const found = lock.packages[`node_modules/${name}`]
  const { version, license = 'NOASSERTION', integrity } = found ?? {}
  if (version === undefined || integrity?.startsWith('sha512-') !== true)
    throw new Error(`package-lock.json has no version of ${name} with its SHA-512`)
  return { name, version, license, integrity }
}

/** The path of the package's archive, whose digest is that of the lock file. Throws when it cannot be had or is another. */
export function fetchedPackage(wanted: LockedPackage): string {
  const file = `${wanted.name.replaceAll('/', '-').replace('@', '')}-${wanted.version}.tgz`
  const valid = (content: Buffer) => integrityOf(content) === wanted.integrity
  return keptFile(file, valid, () => {
    const content = download(wanted)
    if (!valid(content))
      throw new Error(
        `${wanted.name}@${wanted.version} from the npm registry is not what package-lock.json says: ${integrityOf(content)} instead of ${wanted.integrity}. Ask who runs the registry; the lock file is right`,
      )
    return content
  })
}

/** One file of a package's archive, by its path in the package. Throws when it is not in there. */
export function fileOfPackage(archive: string, path: string): Buffer {
  return execFileSync(systemProgram('tar'), ['-xzOf', archive, `package/${path}`], { maxBuffer: 1 << 30 })
}

function download({ name, version }: LockedPackage): Buffer {
  const [program, ...words] = npmCommand() ?? []
  if (program === undefined) throw new Error('npm is not here: install it, or run this with `npm run image`')
  const folder = mkdtempSync(join(tmpdir(), 'margay-npm-'))
  try {
    const args = [
      ...words,
      'pack',
      `${name}@${version}`,
      '--loglevel=error',
      '--prefer-offline',
      '--pack-destination',
      folder,
    ]
    const env = { ...process.env, PATH: SYSTEM_PATH }
    execFileSync(program, args, { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
    return readFileSync(join(folder, readdirSync(folder).find(each => each.endsWith('.tgz'))!))
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    throw new Error(
      `npm cannot fetch ${name}@${version}: ${stderr?.trim() || message}. Check the registry of \`npm config get registry\``,
      { cause: error },
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function integrityOf(content: Buffer): string {
  return `sha512-${createHash('sha512').update(content).digest('base64')}`
}
