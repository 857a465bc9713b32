// The lab's programs for the virtual machine, as few large files: an emulated processor needs a quarter of a minute to find
// and read the 450 modules of an agent one by one, and compiles what removes types anew in each process. They are laid out
// as the published package, where `lib/package-files.ts` finds what is not imported.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** One folder below for each state of the source. */
const BUILT = join(ROOT, '.cache/vm')
const KEPT_MS = 3_600_000

/** What the lab starts beside the program that is asked for. */
const PROGRAMS = ['agent/main', 'agent/run', 'apiserver/main', 'apiserver/yaml-worker', 'lab/objects'] as const

/** Starts that read every module of an agent and of the API server into the compile cache. */
const STARTS = [
  ['--import', './dist/agent/run.js', 'dist/agent/main.js', '--help'],
  ['dist/apiserver/main.js', '--help'],
] as const

/** Stay modules of their own: two bring compiled code, and the third is loaded only with unusual credentials. */
const EXTERNAL = ['koffi', 'netlink', '@kubernetes/client-node', 'esbuild']

export type VmPrograms = {
  /** The program that was asked for. */
  program: string
  /** For NODE_COMPILE_CACHE, filled. */
  compileCache: string
}

/**
 * Builds `program`, a path in the source without its ending such as `lab/main`, and all that it starts; a second or two, or
 * nothing when the source is as it was. Throws what the build says.
 */
export async function buildVmPrograms(program: string): Promise<VmPrograms> {
  const { outputFiles } = await build({
    entryPoints: [...new Set([...PROGRAMS, program])].map(path => `${path}.ts`),
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
  const built = { program: join(folder, 'dist', `${program}.js`), compileCache: join(folder, 'compile-cache') }
  if (existsSync(folder)) return built
  removeOld()
  // Several may come at once: each makes a folder of its own and gives it the name, and all of them are the same.
  const beside = `${folder}.${process.pid}.new`
  for (const { path, contents } of files) {
    mkdirSync(dirname(join(beside, path)), { recursive: true })
    writeFileSync(join(beside, path), contents)
  }
  execFileSync(process.execPath, [join(ROOT, 'cni/compile-main.ts'), join(beside, 'dist/cni')], { stdio: 'ignore' })
  try {
    renameSync(beside, folder)
  } catch (error) {
    rmSync(beside, { recursive: true })
    if (!existsSync(folder)) throw error
  }
  // where the programs have their last path: it is part of a cache entry's name
  const env = { ...process.env, NODE_COMPILE_CACHE: built.compileCache }
  for (const args of STARTS)
    execFileSync(process.execPath, args, { cwd: folder, env, stdio: ['ignore', 'ignore', 'inherit'] })
  return built
}

function removeOld(): void {
  if (!existsSync(BUILT)) return
  for (const name of readdirSync(BUILT)) {
    const path = join(BUILT, name)
    if (Date.now() - statSync(path).mtimeMs > KEPT_MS) rmSync(path, { recursive: true, force: true })
  }
}
