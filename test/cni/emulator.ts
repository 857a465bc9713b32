// Programs for arm64 on a machine of another kind: QEMU's user mode emulation runs them, without anything registered in the
// kernel. `npm run test:arm64` sets MARGAY_TEST_MACHINE=arm64: then the tests of the installed plugin test that of arm64.
import { writeFileSync } from 'node:fs'
import { findSystemProgram } from '../../lib/system-program.ts'

/** Whether the tests of the plugin are for arm64, whatever the machine is. */
export const ARM64_WANTED = process.env['MARGAY_TEST_MACHINE'] === 'arm64'

/** The emulator for programs of arm64. Undefined: it is not installed. */
export const emulator = (): string | undefined => findSystemProgram('qemu-aarch64-static')

/**
 * Makes the file `path`, which runs the program `program` of arm64 when it is executed, with the environment and the open
 * files of its caller. It is a script of one line whose interpreter is the emulator; the program gets `path` as its first
 * argument. Throws when the emulator is not here, or the paths are longer than the kernel takes in such a line.
 */
export function writeEmulated(path: string, program: string): void {
  const qemu = emulator()
  if (qemu === undefined) throw new Error('qemu-aarch64-static is missing: install the Debian package qemu-user-static')
  const line = `#!${qemu} ${program}\n`
  if (line.length > 255 || program.includes(' ')) throw new Error(`no path for a script: ${program}`)
  writeFileSync(path, line, { mode: 0o755 })
}
