// Programs as few large files: an emulated processor needs a quarter of a minute to find and read the 450 modules of an agent
// one by one, and any processor twice as long as for one file. They are laid out as the published package, where
// `lib/package-files.ts` finds what is not imported.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** One folder below for each state of the source. */
const BUILT = join(ROOT, '.cache/built')
const KEPT_MS = 3_600_000

/** Starts that read every module of a program into the compile cache. */
const STARTS: Readonly<Record<string, readonly string[]>> = {
  'agent/main': ['--import', './dist/agent/run.js', 'dist/agent/main.js', '--help'],
  'agent/margay-bgp': ['dist/agent/margay-bgp.js', '--help'],
  'apiserver/main': ['dist/apiserver/main.js', '--help'],
  'ctl/main': ['dist/ctl/main.js', '--help'],
}

/** What they load by a path of its own. */
const PARTS = ['agent/run', 'agent/bfd-worker', 'apiserver/yaml-worker'] as const

/** Stay modules of their own: two bring compiled code, and the third is loaded only with unusual credentials. */
const EXTERNAL = ['koffi', 'netlink', '@kubernetes/client-node', 'esbuild']

/**
 * Builds programs, named by their paths in the source without ending, such as `lab/main`, and returns the folder that holds
 * them under these names with the ending `.js`. Fills `compileCache`, a folder for NODE_COMPILE_CACHE. A second or two, and
 * the build is kept for the next call of the same source. Throws what the build says.
 */
export async function buildPrograms(programs: readonly string[], compileCache: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [...new Set([...programs, ...PARTS])].map(path => `${path}.ts`),
    bundle: true,
    splitting: true,
    external: EXTERNAL,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    outdir: 'dist',
    outbase: '.',
    chunkNames: 'chunks/[name]-[hash]',
    absWorkingDir: ROOT,
    banner: { js: `import { createRequire as R } from 'node:module'; const require = R(import.meta.url)` },
    logLevel: 'silent',
    write: false,
  })
  const files = [
    ...outputFiles.map(({ path, contents }) => ({ path: relative(ROOT, path), contents })),
    { path: 'package.json', contents: readFileSync(join(ROOT, 'package.json')) },
  ]
  const hash = createHash('sha256')
    .update(process.version)
    .update(readFileSync(join(ROOT, 'cni/plugin.c')))
  for (const { path, contents } of files) hash.update(path).update(contents)
  const folder = join(BUILT, hash.digest('hex').slice(0, 16))
  // what is used again is young again: a later build removes old ones
  if (existsSync(folder)) utimesSync(folder, new Date(), new Date())
  else writeFolder(folder, files)
  // where the programs have their last path: it is part of a cache entry's name
  const env = { ...process.env, NODE_COMPILE_CACHE: compileCache }
  for (const program of programs)
    if (STARTS[program] !== undefined)
      execFileSync(process.execPath, STARTS[program], { cwd: folder, env, stdio: ['ignore', 'ignore', 'inherit'] })
  return join(folder, 'dist')
}

/** Several may come at once: each makes a folder of its own and gives it the name, and all of them are the same. */
function writeFolder(folder: string, files: readonly { path: string; contents: Uint8Array }[]): void {
  removeOld()
  const beside = `${folder}.${process.pid}.new`
  for (const { path, contents } of files) {
    mkdirSync(dirname(join(beside, path)), { recursive: true })
    writeFileSync(join(beside, path), contents)
  }
  try {
    execFileSync(process.execPath, [join(ROOT, 'cni/compile-main.ts'), join(beside, 'dist/cni')], { stdio: 'ignore' })
  } catch {
    // No compiler: who installs the plugin will look for one again, and say so.
  }
  try {
    renameSync(beside, folder)
  } catch (error) {
    rmSync(beside, { recursive: true })
    if (!existsSync(folder)) throw error
  }
}

function removeOld(): void {
  if (!existsSync(BUILT)) return
  for (const name of readdirSync(BUILT)) {
    const path = join(BUILT, name)
    if (Date.now() - statSync(path).mtimeMs > KEPT_MS) rmSync(path, { recursive: true, force: true })
  }
}
