// The programs of a pod of the soak, made from `first-packets.c` by a compiler of this machine.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compileProgram, compilerFor, thisMachine } from '../../cni/compile.ts'

/** Makes the program in a folder and returns its path. Throws `CompilerMissing`, or what the compiler says. */
export function makeFirstPackets(folder: string): string {
  const program = join(folder, 'first-packets')
  compileProgram(compilerFor(thisMachine()), fileURLToPath(new URL('./first-packets.c', import.meta.url)), program)
  return program
}

/** Where echo servers of the soak listen (UDP). */
export const ECHO_PORT = 7007
/** How long a pod waits for answers: so late an answer is still one, since the machine may be busy. */
export const ANSWER_MS = 5000
