// Compiles plugin-fuzz.c, which runs the plugin's own code under random input, with the sanitizers of gcc or clang.
import { execFile, execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findSystemProgram, SYSTEM_PATH } from '../../lib/system-program.ts'

const FLAGS = [
  ...['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-g', '-O1'],
  ...['-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
]

/** The program, made in `folder`; or the reason why it cannot be made here. */
export function compileFuzzer(folder: string): { program: string } | { missing: string } {
  const compiler = findSystemProgram('gcc') ?? findSystemProgram('clang')
  if (compiler === undefined) return { missing: 'neither gcc nor clang is here' }
  const program = join(folder, 'plugin-fuzz')
  const options = { env: { PATH: SYSTEM_PATH }, stdio: 'pipe', encoding: 'utf8' } as const
  try {
    execFileSync(compiler, ['-fsanitize=address,undefined', '-x', 'c', '-', '-o', program], {
      ...options,
      input: 'int main(void) { return 0; }\n',
    })
  } catch {
    return { missing: `${compiler} has no sanitizers` }
  }
  execFileSync(compiler, [...FLAGS, '-o', program, new URL('./plugin-fuzz.c', import.meta.url).pathname], options)
  return { program }
}

/** What the program prints: `<n> cases`, or the fault that it found. */
export async function runFuzzer(program: string, seconds: number, seed: number): Promise<string> {
  const env = { ASAN_OPTIONS: 'detect_leaks=0' } // the plugin allocates nothing
  const run = promisify(execFile)(program, [`${seconds}`, `${seed}`], { env })
  return run.then(
    ({ stdout }) => stdout.trim(),
    (error: Error & { stdout: string; stderr: string }) => `${error.stdout}${error.stderr}`,
  )
}
