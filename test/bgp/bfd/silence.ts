// A far end that falls silent: its link stays up, and no packet goes in or out.
import { execFileSync } from 'node:child_process'
import { systemProgram } from '../../../lib/system-program.ts'
import type { ScratchNetns } from '../../kernel/scratch-netns.ts'

const SILENT = `table inet silent {
  chain in { type filter hook prerouting priority -400; policy drop; }
  chain out { type filter hook output priority -400; policy drop; }
}`

export function silence(netns: ScratchNetns): void {
  nft(netns, SILENT)
}

export function speak(netns: ScratchNetns): void {
  nft(netns, 'delete table inet silent')
}

function nft({ path }: ScratchNetns, input: string): void {
  const args = [`--net=${path}`, systemProgram('nft'), '-f', '-']
  execFileSync(systemProgram('nsenter'), args, { input, stdio: ['pipe', 'ignore', 'inherit'] })
}
