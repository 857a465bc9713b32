// What people read of an explanation: what stops the packet, who made it so, what to do. Pure.
import type { End } from '../api/explain.ts'
import type { Asked, Cause, Explanation, NodeExplanation, Note, Probed, Step } from '../api/explanation.ts'
import { nameOf } from '../explain/crossing.ts'
import { renderFields, renderTable } from './render.ts'

const EFFECT = { all: 'STOPPED', large: 'STOPPED (large packets)', changed: 'CHANGED' } as const
const VERDICT = { passes: 'PASSES', unknown: 'UNKNOWN' } as const
/** Steps that are not known, in the short form. */
const MOST_OPEN = 6

/** `wide`: every step. */
export function explanationText(explanation: Explanation, format: 'table' | 'wide'): string {
  const { question, first, verdict, steps, notes, others, asked, probe } = explanation
  const { packet, from, to, service } = question
  const port = packet.destinationPort === undefined ? '' : `/${packet.destinationPort}`
  // a headless Service without a pod is a name alone
  const target = to.address === '' ? '' : ` to ${endText(to)}`
  const via = service === undefined ? '' : ` for Service ${service.namespace}/${service.name}`
  const what = `${endText(from)}${target}, ${packet.protocol}${port}${via}`
  const at = first === undefined ? undefined : steps.find(({ cause }) => cause?.message === first.message)
  const where = at === undefined ? '' : at.direction === 'back' ? ', on the way back' : ''
  const open = steps.filter(step => step.verdict === 'unknown')
  const word = first === undefined ? VERDICT[verdict === 'passes' ? 'passes' : 'unknown'] : EFFECT[first.effect]
  return [
    `${word}${where}: ${what}\n`,
    first === undefined ? '' : causeText(first),
    verdict === 'unknown' ? openText(open) : '',
    othersText(others),
    notesText(notes),
    format === 'wide' ? `\n${stepsText(steps)}` : '',
    probe === undefined ? '' : probeText(probe),
    askedText(asked),
  ].join('')
}

export function nodeExplanationText({ node, first, others, verdict, notes, asked }: NodeExplanation): string {
  const word = first === undefined ? VERDICT[verdict === 'passes' ? 'passes' : 'unknown'] : EFFECT[first.effect]
  const says =
    first === undefined
      ? verdict === 'passes'
        ? `as its agent says, pods of ${node} get a network`
        : `whether pods of ${node} get a network is not known`
      : `pods of ${node} get no network`
  return [
    `${word}: ${says}\n`,
    first === undefined ? '' : causeText(first),
    othersText(others),
    notesText(notes),
    askedText(asked),
  ].join('')
}

/** The name with the address, where it is no name by itself. */
function endText(end: End): string {
  const name = nameOf(end)
  return name === end.address ? name : `${name} (${end.address})`
}

function causeText({ code, message, setBy, remedy, page }: Cause): string {
  const by = {
    policy: 'a policy',
    agent: 'Margay',
    foreign: 'another program',
    operator: 'the operator',
    fabric: 'the network',
    unknown: undefined,
  }
  const who = [by[setBy.who], setBy.text].filter(each => each !== undefined && each !== '').join(': ')
  return indented([
    ['cause', `${message} (${code})`],
    ['set by', who === '' ? undefined : who],
    ['remedy', remedy],
    ['see', page],
  ])
}

function openText(open: readonly Step[]): string {
  const all = [...new Set(open.map(({ node, says }) => (node === 'between' ? says : `${node}: ${says}`)))]
  const more = all.length > MOST_OPEN ? [`${all.length - MOST_OPEN} more: -o wide`] : []
  return indented([...all.slice(0, MOST_OPEN), ...more].map((text): [string, string] => ['open', text]))
}

function othersText(others: readonly Cause[]): string {
  return indented(
    others.map(({ message, code, node, remedy }): [string, string] => [
      'also',
      `${node}: ${message} (${code}); ${remedy}`,
    ]),
  )
}

function notesText(notes: readonly Note[]): string {
  return indented(
    notes.map(({ node, at, text }): [string, string] => [
      'note',
      `${at === undefined ? '' : `${at} `}${node}: ${text}`,
    ]),
  )
}

function probeText({ node, sent, outcome, said }: Probed): string {
  const how = said === undefined ? outcome : `${outcome}: ${said}`
  return indented([['probe', `${sent} ${sent === 1 ? 'packet' : 'packets'} sent from ${node}, ${how}`]])
}

function askedText(asked: readonly Asked[]): string {
  const each = asked.map(({ node, ms, silent }) =>
    silent === undefined ? `${node} ${ms} ms` : `${node} is silent: ${silent}`,
  )
  return indented([['asked', each.length === 0 ? 'nobody' : each.join(', ')]])
}

function stepsText(steps: readonly Step[]): string {
  return renderTable(
    ['WAY', 'NODE', 'STEP', 'VERDICT', 'WHAT'],
    steps.map(({ direction, node, name, verdict, says }) => [direction, node, name, verdict, says]),
  )
}

function indented(fields: readonly (readonly [string, string | undefined])[]): string {
  return renderFields(fields)
    .split('\n')
    .map(line => (line === '' ? '' : `  ${line}\n`))
    .join('')
}
