// Runs the real program and tells how it ended.

import { execFile } from 'node:child_process'
import { programUnderTest } from '../program-file.ts'

const MAIN = programUnderTest('ctl/main')

export type Run = { code: number; out: string; err: string }

export function runCtl(args: readonly string[], stdin = ''): Promise<Run> {
  return new Promise(resolve => {
    const child = execFile(process.execPath, [MAIN, ...args], (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
    )
    child.stdin!.end(stdin)
  })
}
