// What -f names: files, folders with manifests, standard input.
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Context, Source } from './command.ts'
import { UsageError } from './failure.ts'

const MANIFEST = /\.(ya?ml|json)$/

/**
 * The texts in the order of the paths. Of a folder, its files that end in .yaml, .yml or .json, by name, as kubectl takes
 * them; those of the folders below it too when `recursive`. `input` gives all of standard input. Rejects with UsageError, also when one of the paths cannot be read or a folder holds no manifest.
 */
export async function readSources(
  paths: readonly string[],
  input: () => Promise<string>,
  { recursive = false, skipEmpty = false }: { recursive?: boolean; skipEmpty?: boolean } = {},
): Promise<Source[]> {
  if (paths.filter(path => path === '-').length > 1)
    throw new UsageError('standard input can be read once: give -f - once')
  const sources: Source[] = []
  for (const path of paths) {
    if (path === '-') sources.push({ name: 'standard input', text: await input() })
    else
      for (const file of await filesOf(path, { recursive, skipEmpty }))
        sources.push({ name: file, text: await fileText(file) })
  }
  return sources
}

async function filesOf(
  path: string,
  { recursive, skipEmpty }: { recursive: boolean; skipEmpty: boolean },
): Promise<string[]> {
  const found = await stat(path).catch((error: Error) => {
    throw new UsageError(`cannot read ${path}: ${error.message}`)
  })
  if (!found.isDirectory()) return [path]
  const entries = (await readdir(path, { withFileTypes: true, recursive })).filter(each => !each.isDirectory())
  const names = entries.map(({ name, parentPath }) => relative(path, join(parentPath, name)))
  const manifests = names.filter(name => MANIFEST.test(name)).sort()
  if (manifests.length === 0 && !skipEmpty)
    throw new UsageError(`${path} holds no file that ends in .yaml, .yml or .json`)
  return manifests.map(name => join(path, name))
}

/** The text of one file, `-` for standard input. Rejects with UsageError that names it. */
export async function textOf(path: string, { read }: Pick<Context, 'read'>): Promise<string> {
  const [source] = await read([path])
  return source!.text
}

/** Rejects with UsageError that names the file. */
export async function fileText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new UsageError(`cannot read ${path}: ${(error as Error).message}`)
  }
}
