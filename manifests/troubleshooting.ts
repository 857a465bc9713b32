// docs/troubleshooting.md from the symptoms, the conditions' reasons and the causes of explain.
import { anchorOf, REASONS, type ReasonRow } from '../api/reasons.ts'
import type { ConditionType } from '../api/status.ts'
import { SYMPTOMS } from './symptoms.ts'

/** A condition with more reasons than this is not told reason by reason. */
const MOST_REASONS = 4

export function troubleshootingText(): string {
  const sections = SYMPTOMS.map(({ title, rows }) => {
    const lines = rows.flatMap(row =>
      'conditions' in row ? told(row.symptom, row.conditions) : [cells(row.symptom, row.cause, row.act)],
    )
    return `## ${title}\n| symptom | likely cause | look, and do |\n|---|---|---|\n${lines.join('\n')}`
  })
  return `# Troubleshooting by symptom

\`margayctl explain A B [PROTO/PORT]\` says why one end cannot reach another, \`margayctl explain NODE\` why pods get no network there ([explain.md](explain.md)), and \`margayctl ui\` shows it all in a browser ([map.md](map.md)). Three more say most: \`margayctl node status\` (on the node, or \`kubectl margay node status\` from anywhere), \`kubectl describe node NODE\` (condition \`NetworkUnavailable\`, Events), \`kubectl -n kube-system logs ds/margay-node\`.
Every condition names the object, the cause and the remedy, and the place in [conditions.md](conditions.md) that explains its reason. \`npm run manifests\` writes this page from \`manifests/symptoms.ts\` and \`api/reasons.ts\`.

${sections.join('\n\n')}
`
}

/** One row for each condition: all of its reasons where they are few. */
function told(symptom: string, conditions: readonly ConditionType[]): string[] {
  return conditions.map((type, i) => {
    const rows = Object.entries<ReasonRow>(REASONS[type])
    const page = (reason: string) => `conditions.md#${anchorOf(type, reason, 'node')}`
    const name = i === 0 ? symptom : 'the same'
    if (rows.length > MOST_REASONS)
      return cells(name, `\`${type}\`: one of [${rows.length} reasons](${page('')})`, 'the remedy of the condition')
    const causes = rows.map(([reason, { when }]) => `[\`${reason}\`](${page(reason)}): ${when}`)
    return cells(name, `\`${type}\`: ${causes.join('; ')}`, rows.map(([, { cure }]) => cure).join('; '))
  })
}

function cells(...texts: readonly string[]): string {
  return `| ${texts.join(' | ')} |`
}
