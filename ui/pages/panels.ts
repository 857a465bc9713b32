// What stands beside the map, as elements: a node, a walk, flows, events, and all nodes as a table.
import type { Flow, NodeEvent } from '../../api/answers.ts'
import type { Cause, Explanation, Step } from '../../api/explanation.ts'
import type { MapLink, MapModel, PolicyPeer } from '../model.ts'
import type { NodeAnswer } from './data.ts'
import { button, h } from './dom.ts'

export type Acts = { choose: (node: string) => void; end: (word: string) => void }

const STATE_CLASS = { ready: 'good', 'not ready': 'bad', silent: 'away' } as const
const LINK_CLASS = { passes: 'good', suspect: 'warn', lost: 'bad', 'no session': 'warn', unknown: 'quiet' } as const

export function summaryText({ counts, linkCount }: MapModel): string {
  const { ready, notReady, silent, pods, lost } = counts
  const rest = [
    notReady > 0 && `${notReady} not ready`,
    silent > 0 && `${silent} silent`,
    lost > 0 && `${lost} of ${linkCount} links with a fault`,
  ]
  return [
    `${ready} of ${ready + notReady + silent} nodes ready`,
    `${pods} pods`,
    ...rest.filter(each => each !== false),
  ].join(', ')
}

/** All that the map draws, in rows. */
export function nodeTable({ nodes }: MapModel, matches: (name: string) => boolean, { choose }: Acts): HTMLElement {
  const rows = nodes
    .filter(({ name }) => matches(name))
    .map(({ name, address, lan, state, pods, blocks, sessions, wrong, silent }) =>
      h(
        'tr',
        {},
        h(
          'th',
          { scope: 'row' },
          button(name, () => choose(name)),
        ),
        h('td', { class: STATE_CLASS[state] }, state),
        h('td', {}, address),
        h('td', {}, lan),
        h('td', {}, String(pods)),
        h('td', {}, String(blocks)),
        h('td', {}, `${sessions.up} up${sessions.down > 0 ? `, ${sessions.down} down` : ''}`),
        h('td', {}, silent ?? wrong.join(', ')),
      ),
    )
  const head = ['Node', 'State', 'Address', 'LAN', 'Pods', 'Blocks', 'Sessions', 'What is wrong']
  return h(
    'table',
    {},
    h('caption', {}, `${rows.length} of ${nodes.length} nodes`),
    h('thead', {}, h('tr', {}, ...head.map(each => h('th', { scope: 'col' }, each)))),
    h('tbody', {}, ...rows),
  )
}

export function nodePanel({ node, silent, last, links }: NodeAnswer, { choose, end }: Acts): HTMLElement {
  const state = silent !== undefined || last === undefined ? 'silent' : last.ready ? 'ready' : 'not ready'
  return h(
    'div',
    {},
    h('h2', {}, node, ' ', h('span', { class: STATE_CLASS[state] }, state)),
    silent !== undefined && h('p', { class: 'card bad' }, `It does not answer: ${silent}`),
    last && h('p', { class: 'quiet' }, [last.address, last.subnet].filter(each => each !== undefined).join(' in ')),
    button('Explain from this node', () => end(`node/${node}`)),
    ...(last?.wrong ?? []).map(({ type, reason, message, remedy, object, page }) =>
      h(
        'div',
        { class: 'card warn' },
        h('p', {}, h('strong', {}, `${type}: ${reason}`), object && ` ${object.kind} ${object.name}`),
        h('p', {}, message),
        h('p', {}, `Remedy: ${remedy}`),
        page !== undefined && h('p', { class: 'quiet' }, `See ${page}`),
      ),
    ),
    h('h3', {}, 'Sessions'),
    last && h('p', {}, `${last.sessions.up} up, ${last.sessions.downCount} down`),
    ...(last?.sessions.down ?? []).map(({ name, address, state: is, reason, detail, remedy }) =>
      h(
        'div',
        { class: 'card warn' },
        h('p', {}, h('strong', {}, `${name} ${address}: ${is}`)),
        h('p', {}, `${reason}: ${detail}`),
        h('p', {}, `Remedy: ${remedy}`),
      ),
    ),
    h('h3', {}, 'Paths to other nodes'),
    linkList(node, links, choose),
    h('h3', {}, 'Pods'),
    last && last.pods.length < last.podCount && h('p', { class: 'quiet' }, `${last.pods.length} of ${last.podCount}`),
    h(
      'ul',
      { class: 'plain' },
      ...(last?.pods ?? []).map(({ namespace, name, addresses }) =>
        h(
          'li',
          {},
          button(`${namespace}/${name}`, () => end(`${namespace}/${name}`)),
          ` ${addresses.join(', ')}`,
        ),
      ),
    ),
    h('h3', {}, 'Blocks of addresses'),
    h(
      'ul',
      { class: 'plain' },
      ...(last?.blocks ?? []).map(({ cidr, pool, used, size }) =>
        h('li', {}, `${cidr} of ${pool}: ${used} of ${size} in use`),
      ),
    ),
  )
}

function linkList(node: string, links: readonly MapLink[], choose: (name: string) => void): HTMLElement {
  if (links.length === 0) return h('p', { class: 'quiet' }, 'Nothing is known of them.')
  return h(
    'ul',
    { class: 'plain' },
    ...links.map(({ from, to, state, way }) => {
      const far = from === node ? to : from
      return h(
        'li',
        {},
        button(far, () => choose(far)),
        ' ',
        h('span', { class: LINK_CLASS[state] }, state),
        way !== undefined && h('span', { class: 'quiet' }, ` by ${way}`),
      )
    }),
  )
}

const VERDICTS = {
  passes: ['good', 'It passes'],
  stopped: ['bad', 'It is stopped'],
  unknown: ['warn', 'It is not known'],
} as const

/** The walk: what stops the packet first, then each step in the packet's order. */
export function explainPanel(explanations: readonly Explanation[]): HTMLElement {
  return h('div', {}, ...explanations.map(explanationElement))
}

function explanationElement({ verdict, question, first, others, steps, notes, asked }: Explanation): HTMLElement {
  const [kind, words] = VERDICTS[verdict]
  const { source, destination, protocol, destinationPort } = question.packet
  const port = destinationPort === undefined ? '' : `/${destinationPort}`
  return h(
    'section',
    {},
    h('h2', {}, `${source} to ${destination}, ${protocol}${port}`),
    h('p', { class: `card ${kind}` }, h('strong', {}, words), first === undefined ? '.' : ':'),
    first && causeElement(first),
    others.length > 0 && h('h3', {}, 'And behind it'),
    ...others.map(causeElement),
    ...notes.map(({ node, text }) => h('p', { class: 'card warn' }, `${node}: ${text}`)),
    h('ol', { class: 'steps', 'aria-label': 'What the packet meets' }, ...steps.map(stepElement)),
    h(
      'p',
      { class: 'quiet' },
      `Asked: ${asked.map(({ node, ms, silent }) => `${node} (${silent === undefined ? `${ms} ms` : silent})`).join(', ')}`,
    ),
  )
}

function causeElement({ code, node, message, setBy, remedy, page }: Cause): HTMLElement {
  return h(
    'div',
    { class: 'card bad' },
    h('p', {}, h('strong', {}, `${code} on ${node}`)),
    h('p', {}, message),
    h('p', {}, `Set by: ${setBy.text}`),
    h('p', {}, `Remedy: ${remedy}`),
    h('p', { class: 'quiet' }, `See ${page}`),
  )
}

function stepElement({ name, node, direction, verdict, says }: Step): HTMLElement {
  const back = direction === 'back' ? ' (the answer)' : ''
  return h(
    'li',
    { class: verdict, 'data-step': name },
    h('strong', {}, `${node}: ${name}${back}`),
    ` ${verdict}: ${says}`,
  )
}

/** Who may talk to a pod, and to whom it may, by policies alone. */
export function policyPanel(pod: string, peers: readonly PolicyPeer[], more: number, { end }: Acts): HTMLElement {
  const word = ({ action, by }: PolicyPeer['to']) =>
    h('td', { class: action === 'allow' ? 'good' : 'bad' }, action, h('span', { class: 'quiet' }, ` ${by}`))
  const left = more > 0 ? `, ${more} more are left out` : ''
  return h(
    'table',
    {},
    h('caption', {}, `${pod} and ${peers.length} other pods${left}. Choose one for the walk from ${pod} to it.`),
    h(
      'thead',
      {},
      h('tr', {}, ...['Pod', `${pod} may reach it`, 'It may reach it'].map(each => h('th', { scope: 'col' }, each))),
    ),
    h(
      'tbody',
      {},
      ...peers.map(({ pod: other, to, from }) =>
        h(
          'tr',
          {},
          h(
            'th',
            { scope: 'row' },
            button(other, () => {
              end(pod)
              end(other)
            }),
          ),
          word(to),
          word(from),
        ),
      ),
    ),
  )
}

export function flowPanel(flows: readonly (Flow & { node: string })[], { end }: Acts): HTMLElement {
  if (flows.length === 0) return h('p', {}, 'No packet was denied or logged since the agents started.')
  const name = (side: Flow['source']) =>
    side.name === undefined ? side.address : side.namespace === undefined ? side.name : `${side.namespace}/${side.name}`
  const ask = (side: Flow['source']) => (side.kind === 'Pod' ? button(name(side), () => end(name(side))) : name(side))
  return h(
    'table',
    {},
    h('caption', {}, 'Newest first. Choose two pods to see why.'),
    h('thead', {}, h('tr', {}, ...['When', 'From', 'To', 'What', 'By'].map(each => h('th', { scope: 'col' }, each)))),
    h(
      'tbody',
      {},
      ...flows.map(flow =>
        h(
          'tr',
          {},
          h('td', {}, flow.last.slice(11, 19)),
          h('td', {}, ask(flow.source)),
          h('td', {}, ask(flow.destination)),
          h(
            'td',
            {},
            `${flow.verdict} ${flow.protocol}${flow.destinationPort === undefined ? '' : `/${flow.destinationPort}`} × ${flow.packets}`,
          ),
          h(
            'td',
            {},
            `${flow.policy ?? flow.profile ?? flow.because}${flow.rule === undefined ? '' : ` rule ${flow.rule}`} on ${flow.node}`,
          ),
        ),
      ),
    ),
  )
}

/** `until`: a place on the time line, from 0 for the oldest event to 1 for now. */
export function eventTable(events: readonly (NodeEvent & { node: string })[]): HTMLElement {
  return h(
    'table',
    {},
    h('caption', {}, `${events.length} events, newest first`),
    h('thead', {}, h('tr', {}, ...['When', 'Node', 'Object', 'What'].map(each => h('th', { scope: 'col' }, each)))),
    h(
      'tbody',
      {},
      ...events.map(({ at, node, object, type, reason, message }) =>
        h(
          'tr',
          {},
          h('td', {}, h('time', { datetime: at }, at.slice(11, 19))),
          h('td', {}, node),
          h('td', {}, `${object.kind} ${object.namespace === undefined ? '' : `${object.namespace}/`}${object.name}`),
          h('td', {}, h('strong', {}, `${type} ${reason}`), ` ${message}`),
        ),
      ),
    ),
  )
}
