// The plugin as a program, made by each compiler that is here: small, static, the same each time, and without a fault that
// sanitizers see.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { compilePlugin } from '../../cni/compile.ts'
import { CNI_VERSIONS } from '../../cni/result.ts'
import { findSystemProgram, SYSTEM_PATH } from '../../lib/system-program.ts'
import { emulator, writeEmulated } from './emulator.ts'
import { compileFuzzer, runFuzzer } from './plugin-fuzz.ts'
import { ENV, runPlugin } from './run-plugin.ts'

const SOURCE = new URL('../../cni/plugin.c', import.meta.url).pathname
/** The machine that each compiler makes programs for, as e_machine of ELF has it. */
const MACHINES = { 'x86-64': 62, arm64: 183 } as const
const HERE = process.arch === 'arm64' ? 'arm64' : 'x86-64'

function aFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'margay-program-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Kind of file, machine, and the types of the program headers with their flags, of a 64-bit ELF file. */
function elf(file: Buffer): { type: number; machine: number; headers: { type: number; flags: number }[] } {
  if (file.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') throw new Error('no 64-bit ELF file')
  const [at, length, count] = [Number(file.readBigUInt64LE(32)), file.readUInt16LE(54), file.readUInt16LE(56)]
  const headers = [...Array(count).keys()].map(i => ({
    type: file.readUInt32LE(at + i * length),
    flags: file.readUInt32LE(at + i * length + 4),
  }))
  return { type: file.readUInt16LE(16), machine: file.readUInt16LE(18), headers }
}

/** A file that can be executed here and runs the program of a machine; undefined where there is no emulator for it. */
function runnable(program: string, machine: keyof typeof MACHINES): string | undefined {
  if (machine === HERE) return program
  if (machine !== 'arm64' || emulator() === undefined) return undefined
  writeEmulated(`${program}-emulated`, program)
  return `${program}-emulated`
}

for (const [name, machine] of [
  ['gcc', HERE],
  ['clang', HERE],
  ['tcc', 'x86-64'],
  ['aarch64-linux-gnu-gcc', 'arm64'],
  ['x86_64-linux-gnu-gcc', 'x86-64'],
] as const)
  test(`the program that ${name} makes is static, has no interpreter and less than 64 KiB, and is the same each time`, async t => {
    const compiler = findSystemProgram(name)
    if (compiler === undefined || (name === 'tcc' && HERE !== 'x86-64')) {
      t.log(`skipped: no ${name} here`)
      return t.pass()
    }
    const folder = aFolder(t)
    const paths = ['first', 'second'].map(each => join(folder, each))
    for (const path of paths) compilePlugin(compiler, path)
    const [first, second] = paths.map(path => readFileSync(path))
    t.deepEqual(first, second)
    t.true(first!.length < 65_536, `${first!.length} bytes`)
    const { type, headers, ...found } = elf(first!)
    t.is(found.machine, MACHINES[machine])
    t.is(type, 2) // ET_EXEC: at a fixed address, so that nothing has to be relocated
    t.deepEqual(
      headers.filter(header => [2, 3].includes(header.type)), // PT_DYNAMIC, PT_INTERP
      [],
    )
    if (name !== 'tcc') t.true(headers.some(header => header.type === 0x6474e551 && header.flags === 6)) // PT_GNU_STACK
    t.deepEqual(
      headers.filter(header => header.type === 1 && (header.flags & 3) === 3), // PT_LOAD, to write and to execute
      [],
    )
    const program = runnable(paths[0]!, machine)
    if (program === undefined) return t.log(`not run: a program for ${machine}, and no emulator here`)
    const version = await runPlugin(program, { env: { CNI_COMMAND: 'VERSION' } })
    t.deepEqual(JSON.parse(version.stdout.toString()).supportedVersions, CNI_VERSIONS)
    const away = await runPlugin(program, { env: ENV, input: `{"agentSocket":"${folder}/none"}` })
    t.is(JSON.parse(away.stdout.toString()).code, 11)
  })

test('the source includes no other file, and compilers have nothing to say of it', async t => {
  t.notRegex(readFileSync(SOURCE, 'utf8'), /^\s*#\s*include/m)
  const folder = aFolder(t)
  for (const name of ['gcc', 'clang', 'aarch64-linux-gnu-gcc']) {
    const compiler = findSystemProgram(name)
    if (compiler === undefined) continue
    const warnings = [
      '-std=c11',
      '-O2',
      '-Wall',
      '-Wextra',
      '-Wshadow',
      '-Wconversion',
      '-Wno-sign-conversion',
      '-Werror',
    ]
    const args = [...warnings, '-ffreestanding', '-c', '-o', join(folder, name), SOURCE]
    const { stderr } = await promisify(execFile)(compiler, args, { env: { PATH: SYSTEM_PATH } })
    t.is(stderr, '')
  }
})

test('a compiler that fails is named with what it said', t => {
  const folder = aFolder(t)
  t.throws(() => compilePlugin(findSystemProgram('false') ?? '/bin/false', join(folder, 'x')), {
    message: /\/false cannot make a program of .*cni\/plugin\.c: /,
  })
  t.false(existsSync(join(folder, 'x')))
})

test('the plugin asks the kernel for nothing beyond what its work needs', t => {
  const text = readFileSync(SOURCE, 'utf8')
  const calls = new Set([...text.matchAll(/system_call\(SYS_(\w+)/g)].map(([, name]) => name!))
  t.deepEqual([...calls].toSorted(), [
    ...[
      'clock_gettime',
      'clone',
      'close',
      'connect',
      'dup3',
      'execve',
      'exit_group',
      'fcntl',
      'fstatfs',
      'kill',
      'lseek',
      'memfd_create',
      'mkdirat',
      'mount',
      'openat',
      'pipe2',
      'ppoll',
      'read',
      'rt_sigaction',
      'socket',
      'statx',
      'umount2',
      'unlinkat',
      'wait4',
      'write',
    ],
  ])
})

test('under random requests, answers and faults of the kernel, sanitizers find nothing wrong', async t => {
  t.timeout(60_000)
  const made = compileFuzzer(aFolder(t))
  if ('missing' in made) {
    t.log(`skipped: ${made.missing}`)
    return t.pass()
  }
  const seed = Math.floor(Math.random() * 1e9)
  t.regex(await runFuzzer(made.program, 3, seed), /^\d+ cases$/, `seed ${seed}`)
})
