// Makes the plugin's program from `plugin.c` with a compiler of the machine: for this machine while developing, kept under
// .cache by the hash of what it is made from; for the published package by `compile-main.ts`, so that a host which installs
// it needs no compiler.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isBuilt, packageFile } from '../lib/package-files.ts'
import { findSystemProgram, SYSTEM_PATH } from '../lib/system-program.ts'

/** The machines that the plugin can be made for, in Debian's words. */
export type Machine = 'amd64' | 'arm64'

/** No compiler that can do it is installed. */
export class CompilerMissing extends Error {
  override readonly name = 'CompilerMissing'
}

/** One command for all compilers: no C library, no start code, fixed addresses, no symbols. */
const FLAGS = [
  ...['-O1', '-ffreestanding', '-fno-pie', '-fno-stack-protector', '-fno-asynchronous-unwind-tables'],
  ...['-static', '-nostdlib', '-s'],
]

/** The compilers for the machine's own kind, the first that is there is taken; tcc has no assembler for arm64. */
const NATIVE: Record<Machine, readonly string[]> = {
  amd64: ['gcc', 'clang', 'cc', 'tcc'],
  arm64: ['gcc', 'clang', 'cc'],
}
/** Debian's compilers that run on other machines. */
const CROSS: Record<Machine, readonly string[]> = {
  amd64: ['x86_64-linux-gnu-gcc'],
  arm64: ['aarch64-linux-gnu-gcc'],
}

/** The kind of this machine. Throws for one that the plugin cannot be made for. */
export function thisMachine(): Machine {
  if (process.arch === 'x64') return 'amd64'
  if (process.arch === 'arm64') return 'arm64'
  throw new Error(`the CNI plugin runs on x86-64 and arm64, not on ${process.arch}`)
}

/**
 * The plugin's program for this machine: the one of the package, or made now. Throws `CompilerMissing` when it has to be
 * made and cannot.
 */
export function pluginProgram(): Buffer {
  const machine = thisMachine()
  if (!isBuilt) return readFileSync(cachedProgram(machine))
  const ready = packageFile(`cni/${machine}/margay`)
  return existsSync(ready) ? readFileSync(ready) : compiledProgram(machine)
}

/** The plugin's program for a machine, made now. Throws `CompilerMissing`, or what the compiler says. */
export function compiledProgram(machine: Machine): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'margay-compile-'))
  try {
    const output = join(folder, 'margay')
    compilePlugin(compilerFor(machine), output)
    return readFileSync(output)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The path of a compiler for `machine`. Throws `CompilerMissing`. */
export function compilerFor(machine: Machine): string {
  const names = [...(machine === thisMachine() ? NATIVE[machine] : []), ...CROSS[machine]]
  const compiler = names.map(findSystemProgram).find(path => path !== undefined) ?? unpackedTcc(machine)
  if (compiler !== undefined) return compiler
  throw new CompilerMissing(
    `the CNI plugin for ${machine} is made from cni/plugin.c, and no C compiler is here: install one of ${names.join(', ')}`,
  )
}

/** The compiler that lab/setup.sh unpacks for a plain user of a machine without one. */
function unpackedTcc(machine: Machine): string | undefined {
  const path = fileURLToPath(packageFile('.cache/tcc/usr/bin/tcc'))
  return !isBuilt && machine === 'amd64' && thisMachine() === machine && existsSync(path) ? path : undefined
}

/** Makes the plugin's program at the path `output`. Throws what the compiler says. */
export function compilePlugin(compiler: string, output: string): void {
  compileProgram(compiler, fileURLToPath(packageFile('cni/plugin.c')), output)
}

/** Makes a program of a C file that needs no C library, at the path `output`. Throws what the compiler says. */
export function compileProgram(compiler: string, source: string, output: string): void {
  // compilers look for their assembler and linker themselves
  const env = { PATH: SYSTEM_PATH }
  try {
    execFileSync(compiler, [...FLAGS, '-o', output, source], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
    })
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    throw new Error(`${compiler} cannot make a program of ${source}: ${stderr || message}`, { cause: error })
  }
}

/** Several tests may come at once: each makes a file of its own and gives it the name, and all of them are the same. */
function cachedProgram(machine: Machine): string {
  const compiler = compilerFor(machine)
  const hash = createHash('sha256')
    .update(JSON.stringify([compiler, FLAGS]))
    .update(readFileSync(packageFile('cni/plugin.c')))
  const folder = fileURLToPath(packageFile('.cache/cni'))
  const path = join(folder, `margay-${machine}-${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  const beside = `${path}.${process.pid}.new`
  compilePlugin(compiler, beside)
  renameSync(beside, path)
  return path
}
