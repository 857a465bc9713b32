// docs/conditions.md from the tables of conditions and events.
import { CHANGE_CAUSES, CHANGE_TYPES } from '../api/changes.ts'
import { CONTROLLER_CONDITION_TYPES } from '../api/controller-conditions.ts'
import { NODE_EVENTS, type NodeEventRow } from '../api/node-events.ts'
import { anchorOf, CONTROLLER_REASONS, eventAnchor, REASONS, type ReasonRow } from '../api/reasons.ts'
import { CONDITION_TYPES, EVENT_TYPES } from '../api/status.ts'

const VITAL = { none: '', running: 'running pods', new: 'new pods' } as const

export function conditionsText(): string {
  const conditions = Object.entries(CONDITION_TYPES).map(
    ([type, { vital, promise }]) => `| \`${type}\` | ${promise} | ${VITAL[vital || 'none']} |`,
  )
  const kubernetes = (Object.entries(NODE_EVENTS) as [string, NodeEventRow][]).map(
    ([reason, { type, when, condition }]) =>
      `| <a id="${eventAnchor(reason)}"></a>\`${reason}\` | ${type} | ${when}${condition === undefined ? '' : ` (\`${condition}\`)`} |`,
  )
  const controllers = Object.entries(CONTROLLER_CONDITION_TYPES).map(
    ([type, { vital, promise }]) => `| \`${type}\` | ${promise} | ${vital ? 'yes' : ''} |`,
  )
  const reasons = sections('node', REASONS, CONDITION_TYPES)
  const ofControllers = sections('controllers', CONTROLLER_REASONS, CONTROLLER_CONDITION_TYPES)
  const events = Object.entries(EVENT_TYPES).map(
    ([type, text]) => `| <a id="${eventAnchor(type)}"></a>\`${type}\` | ${text} |`,
  )
  const changes = Object.entries(CHANGE_TYPES).map(([type, text]) => `| \`${type}\` | ${text} |`)
  const causes = Object.entries(CHANGE_CAUSES).map(([cause, text]) => `| \`${cause}\` | ${text} |`)
  return `# Conditions and events of a node

\`margayctl node status\` shows every condition that is not \`True\`, with the object it is about, a reason for machines, a
message and a remedy; \`-o json\` shows all of them. A node is ready while every vital condition is \`True\`; no object of
another node can change that. While one is not, the Node object has the condition \`NetworkUnavailable\` with its reason, by which
Kubernetes gives the node no new pods; where running pods have no network either, or none was ever served, CNI STATUS fails too, by
which Kubernetes makes the node NotReady. \`GET /metrics\` has \`margay_condition{type}\` (1 when all is well) and
\`margay_condition_objects{type}\`. \`margayctl events\` lists what changed. \`npm run manifests\` writes this page from
\`api/status.ts\`, \`api/controller-conditions.ts\` and \`api/reasons.ts\`. Each reason has an anchor here, and its condition names it
(\`page\`).

| condition | what is promised | vital |
|---|---|---|
${conditions.join('\n')}

\`UplinksUp\` needs the address of the interface, which the kernel keeps while there is no carrier. Where a network manager takes it off,
the subnet is gone too, and \`BlocksReachable\` names the blocks behind it with \`NextHopNotOnLink\` in its place.

| event | what happened |
|---|---|
${events.join('\n')}

## Changes
The recorder of a node keeps these beside its events: every change of what is routed, addressed and judged there, each with its cause as the reason.

| change | what happened |
|---|---|
${changes.join('\n')}

| cause | what made it so |
|---|---|
${causes.join('\n')}

## Events of the Node object
Kubernetes shows them: \`kubectl describe node\`, \`kubectl get events --field-selector involvedObject.kind=Node\`. One object of a reason in five minutes at the most, with the count of what it tells; at most five writes of a node in a minute.

| reason | type | when |
|---|---|---|
${kubernetes.join('\n')}

# Reasons by condition
${reasons}

# Of margay-controllers
\`GET /readyz\` of the program has those that are not kept; the vital ones decide its readiness.

| condition | what is promised | vital |
|---|---|---|
${controllers.join('\n')}

${ofControllers}
`
}

type Rows = Readonly<Record<string, Readonly<Record<string, ReasonRow>>>>

/** One section for each condition, with its reasons. */
function sections(
  of: 'node' | 'controllers',
  reasons: Rows,
  types: Readonly<Record<string, { promise: string }>>,
): string {
  return Object.entries(reasons)
    .map(([type, rows]) => {
      const lines = Object.entries(rows).map(
        ([reason, { when, cure }]) => `| <a id="${anchorOf(type, reason, of)}"></a>\`${reason}\` | ${when} | ${cure} |`,
      )
      const head = `## <a id="${anchorOf(type, '', of)}"></a>${type}\n${types[type]?.promise ?? ''}\n`
      return `${head}\n| reason | when | what to do |\n|---|---|---|\n${lines.join('\n')}`
    })
    .join('\n\n')
}
