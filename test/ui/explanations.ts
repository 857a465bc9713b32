// A walk as the map gets it, made up.
import type { Cause, Explanation } from '../../api/explanation.ts'

/** Stopped at its second step; with `text` in every place that has one. */
export function anExplanation(from: string, to: string, text = 'as it is'): Explanation {
  const told = { node: text, message: text, remedy: text, page: text }
  const cause: Cause = { ...told, code: 'VxlanLost', effect: 'all', setBy: { who: 'fabric', text } }
  const packet = { family: 'ipv4', source: from, destination: to, protocol: 'icmp' } as const
  const step = { node: text, direction: 'there', says: text, evidence: [{ of: 'kernel', text }] } as const
  return {
    question: {
      packet,
      back: { ...packet, source: to, destination: from },
      from: { address: from, role: 'pod', node: 'n1' },
      to: { address: to, role: 'pod', node: 'n3' },
    },
    verdict: 'stopped',
    first: cause,
    others: [cause],
    steps: [
      { ...step, name: 'route', verdict: 'passes', evidence: [...step.evidence] },
      { ...step, name: 'fabric', verdict: 'stopped', cause, evidence: [...step.evidence] },
      { ...step, name: 'farPod', direction: 'back', verdict: 'unknown', evidence: [...step.evidence] },
    ],
    notes: [{ node: text, text }],
    asked: [
      { node: text, ms: 3 },
      { node: text, ms: 9, silent: text },
    ],
  }
}
