// The page: asks its server every few seconds, draws the map or the table, and shows beside it what a person chose.

import { mapAt, type ToldEvent } from '../history.ts'
import type { MapModel } from '../model.ts'
import * as data from './data.ts'
import { button, byId, h, tabs } from './dom.ts'
import { MapGraph } from './graph.ts'
import {
  type Acts,
  eventTable,
  explainPanel,
  flowPanel,
  nodePanel,
  nodeTable,
  policyPanel,
  summaryText,
} from './panels.ts'

/** Between two questions, while the page is seen. */
const REFRESH_MS = 4_000
const LEGEND = [
  ['good', 'ready, passes'],
  ['warn', 'a promise is not kept, no session'],
  ['bad', 'not ready, lost'],
  ['away', 'does not answer'],
] as const

let model: MapModel | undefined
let chosen: string | undefined
/** The ends of a walk, as they were chosen. */
let ends: string[] = []
let graph: MapGraph | undefined
/** What is shown is the map as it was then; undefined: as it is. */
let then: { events: readonly ToldEvent[]; atMs: number } | undefined

const view = tabs(byId('view').querySelector('[role=tablist]')!)
const panel = tabs(byId('panel').querySelector('[role=tablist]')!)
const summary = byId('summary')
const find = byId<HTMLInputElement>('find')

const acts: Acts = {
  choose: name => void choose(name),
  end: word => {
    ends = ends.length === 1 ? [...ends, word] : [word]
    panel.select('tab-explain')
    showForm()
    if (ends.length === 2) void explain()
  },
}

async function refresh(): Promise<void> {
  try {
    model = await data.graph()
    const text = summaryNow(model)
    // a screen reader says it when it changes, not every few seconds
    if (summary.textContent !== text) summary.textContent = text
    summary.className = ''
    draw()
  } catch (error) {
    summary.textContent = `What is shown is old: ${(error as Error).message}`
    summary.className = 'bad'
  }
}

function summaryNow(now: MapModel): string {
  if (then === undefined) return summaryText(now)
  const time = new Date(then.atMs).toISOString().slice(0, 19).replace('T', ' ')
  return `As it was at ${time}: ${summaryText(mapAt(now, then.events, then.atMs))}`
}

function draw(): void {
  if (model === undefined) return
  const shown = then === undefined ? model : mapAt(model, then.events, then.atMs)
  const word = find.value.trim().toLowerCase()
  const found = new Set(
    shown.nodes
      .filter(({ name, address }) => name.toLowerCase().includes(word) || address.includes(word))
      .map(({ name }) => name),
  )
  if (!byId('table-box').hidden) {
    const box = byId('table-box')
    const [top, focused] = [box.scrollTop, document.activeElement?.textContent]
    const had = box.contains(document.activeElement)
    box.replaceChildren(nodeTable(shown, name => found.has(name), acts))
    box.scrollTop = top
    // who reads the table by keyboard keeps the place when it is drawn again
    if (had) [...box.querySelectorAll('button')].find(each => each.textContent === focused)?.focus()
  } else {
    graph?.find(word === '' ? undefined : found)
    graph?.draw(shown)
  }
}

async function choose(name: string | undefined): Promise<void> {
  chosen = name
  const box = byId('node-box')
  if (name === undefined) {
    graph?.choose(undefined, undefined)
    box.replaceChildren(h('p', { class: 'quiet' }, 'Choose a node.'))
    return
  }
  panel.select('tab-node')
  try {
    const answer = await data.node(name)
    // another one was chosen meanwhile
    if (chosen !== name) return
    graph?.choose(name, answer.last)
    box.replaceChildren(nodePanel(answer, acts))
  } catch (error) {
    box.replaceChildren(h('p', { class: 'card bad' }, (error as Error).message))
  }
}

const from = h('input', { id: 'from', autocomplete: 'off', spellcheck: 'false', required: true })
const to = h('input', { id: 'to', autocomplete: 'off', spellcheck: 'false', required: true })
const protocol = h('input', { id: 'protocol', autocomplete: 'off', placeholder: 'icmp, tcp/443, udp/53' })
const walkBox = h('div', { role: 'status' })

function buildForm(): void {
  const form = h(
    'form',
    {},
    ...[h('label', { for: 'from' }, 'From'), from, h('label', { for: 'to' }, 'To'), to],
    ...[h('label', { for: 'protocol' }, 'What'), protocol, h('button', { type: 'submit' }, 'Explain')],
  )
  form.addEventListener('submit', event => {
    event.preventDefault()
    ends = [from.value, to.value]
    void explain()
  })
  const help =
    'NAMESPACE/POD, node/NAME, an address, svc/NAME:PORT, or a name. Two pods of the map, one after the other, do too.'
  byId('explain-box').append(h('p', { class: 'quiet' }, help), form, walkBox)
}

const policyPod = h('input', { id: 'policy-pod', autocomplete: 'off', spellcheck: 'false', required: true })
const policyWhat = h('input', { id: 'policy-what', autocomplete: 'off', placeholder: 'icmp, tcp/443, udp/53' })
const policyTable = h('div', { role: 'status' })

function buildPolicyForm(): void {
  const form = h(
    'form',
    {},
    ...[h('label', { for: 'policy-pod' }, 'Pod'), policyPod, h('label', { for: 'policy-what' }, 'What'), policyWhat],
    h('button', { type: 'submit' }, 'Who may talk to whom'),
  )
  form.addEventListener('submit', event => {
    event.preventDefault()
    void showPolicy()
  })
  const help =
    'By policies alone, as the objects of the cluster have them: whether packets arrive is for the walk to say.'
  byId('policy-box').append(h('p', { class: 'quiet' }, help), form, policyTable)
}

async function showPolicy(): Promise<void> {
  const pod = policyPod.value.trim()
  policyTable.replaceChildren(h('p', { class: 'quiet' }, 'Policies are read…'))
  try {
    const { peers, more } = await data.policy(pod, policyWhat.value.trim())
    ends = []
    policyTable.replaceChildren(policyPanel(pod, peers, more, acts))
  } catch (error) {
    policyTable.replaceChildren(h('p', { class: 'card bad' }, (error as Error).message))
  }
}

function showForm(): void {
  from.value = ends[0] ?? ''
  to.value = ends[1] ?? ''
  if (ends.length === 1) walkBox.replaceChildren(h('p', {}, 'Choose the other end.'))
}

async function explain(): Promise<void> {
  walkBox.replaceChildren(h('p', { class: 'quiet' }, 'Both nodes are asked…'))
  try {
    const { explanations } = await data.explain(from.value, to.value, protocol.value.trim())
    walkBox.replaceChildren(explainPanel(explanations))
    const [first] = explanations
    const { from: near, to: far } = first?.question ?? {}
    graph?.way(near?.node && far?.node ? { from: near.node, to: far.node, verdict: first!.verdict } : undefined)
  } catch (error) {
    walkBox.replaceChildren(h('p', { class: 'card bad' }, (error as Error).message))
  }
}

async function showFlows(): Promise<void> {
  byId('flows-box').replaceChildren(
    await data.flows().then(
      flows =>
        h(
          'div',
          {},
          button('Ask again', () => void showFlows()),
          flowPanel(flows, acts),
        ),
      (error: Error) => h('p', { class: 'card bad' }, error.message),
    ),
  )
}

/** A time line: the slider goes from the oldest event to now, and the map is what it was then; at its end it is what it is now. */
async function showEvents(): Promise<void> {
  const box = byId('events-box')
  try {
    const events = await data.events()
    const times = events.map(({ at }) => Date.parse(at))
    const [oldest, newest] = [Math.min(...times), Date.now()]
    const slider = h('input', {
      type: 'range',
      id: 'until',
      min: '0',
      max: '1000',
      value: '1000',
      disabled: events.length === 0,
    })
    const shown = h('output', { for: 'until' })
    const table = h('div')
    const move = () => {
      const until = oldest + ((newest - oldest) * Number(slider.value)) / 1000
      shown.textContent =
        events.length === 0 ? 'nothing happened' : new Date(until).toISOString().slice(0, 19).replace('T', ' ')
      slider.setAttribute('aria-valuetext', shown.textContent)
      table.replaceChildren(eventTable(events.filter((_, i) => times[i]! <= until)))
      then = Number(slider.value) === 1000 ? undefined : { events, atMs: until }
      if (model !== undefined) summary.textContent = summaryNow(model)
      draw()
    }
    slider.addEventListener('input', move)
    move()
    box.replaceChildren(
      button('Ask again', () => void showEvents()),
      h('p', {}, h('label', { for: 'until' }, 'Until '), shown),
      slider,
      table,
    )
  } catch (error) {
    box.replaceChildren(h('p', { class: 'card bad' }, (error as Error).message))
  }
}

function themes(): void {
  const theme = byId<HTMLSelectElement>('theme')
  const use = (name: string) => {
    if (name === '') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = name
    graph?.refresh()
  }
  theme.value = localStorage.getItem('theme') ?? ''
  use(theme.value)
  theme.addEventListener('change', () => {
    localStorage.setItem('theme', theme.value)
    use(theme.value)
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => use(theme.value))
}

async function start(): Promise<void> {
  byId('legend').append(...LEGEND.map(([kind, text]) => h('li', {}, h('span', { class: kind }), text)))
  buildForm()
  buildPolicyForm()
  void choose(undefined)
  if (!(await data.openSession())) {
    summary.textContent =
      'Open the address that margayctl ui printed. It counts once: start the program again for another one.'
    summary.className = 'bad'
    return
  }
  try {
    graph = new MapGraph(byId('graph'), {
      node: name => void choose(name),
      pod: name => acts.end(name),
      nothing: () => void choose(undefined),
    })
  } catch {
    byId('graph-box').replaceChildren(
      h('p', { class: 'card warn' }, 'This browser draws no WebGL: the table has all of the map.'),
    )
    view.select('tab-table')
  }
  themes()
  byId('view').addEventListener('tab', draw, true)
  byId('panel').addEventListener(
    'tab',
    event => {
      const { detail } = event as CustomEvent<string>
      if (detail === 'tab-policy' && policyPod.value === '') policyPod.value = ends[0] ?? ''
      if (detail === 'tab-flows') void showFlows()
      if (detail === 'tab-events') void showEvents()
    },
    true,
  )
  find.addEventListener('input', draw)
  addEventListener('resize', () => graph?.refresh())
  await refresh()
  setInterval(() => {
    if (!document.hidden) void refresh()
  }, REFRESH_MS)
}

void start()
