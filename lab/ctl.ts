// How margayctl is called in the lab's cluster: in the namespace of its API server, which this machine does not reach.
import { fileURLToPath } from 'node:url'
import type { Explanation, NodeExplanation } from '../api/explanation.ts'
import { programFile } from '../lib/package-files.ts'
import type { Lab } from './lab.ts'
import { LabFailure } from './lab-programs.ts'
import { runProgram } from './program.ts'

const EXPLAIN_MS = 30_000

export type CtlCall = { netns: string; argv: [string, ...string[]] }

/** With `node` its agent is asked. */
export function ctlCall(lab: Lab, words: readonly string[], node?: string): CtlCall {
  const socket = node === undefined ? [] : ['--socket', lab.agentSocket(lab.node(node).name)]
  const program = fileURLToPath(programFile('ctl/main'))
  return {
    netns: lab.plan.api.netns,
    argv: [process.execPath, program, '--kubeconfig', lab.kubeconfig, ...words, ...socket],
  }
}

/** `explain` with these words, which asks the agents by their sockets: no API server can execute anything in a pod of the lab. */
export function explainCall(lab: Lab, words: readonly string[]): CtlCall {
  const sockets = lab.plan.nodes.map(({ name }) => `${name}=${lab.agentSocket(name)}`).join(',')
  return ctlCall(lab, ['explain', ...words, '--node-sockets', sockets])
}

/** What `explain` says. Rejects with LabFailure when it fails. */
export async function explained(lab: Lab, words: readonly string[]): Promise<Explanation | NodeExplanation> {
  const { netns, argv } = explainCall(lab, [...words, '-o', 'json'])
  const { code, stdout, stderr } = await runProgram(argv, { netns, limitMs: EXPLAIN_MS })
  try {
    return JSON.parse(stdout) as Explanation | NodeExplanation
  } catch {
    throw new LabFailure(`explain ${words.join(' ')} ended with ${code}: ${stderr.trim()}`)
  }
}
