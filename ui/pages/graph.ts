// The drawn map: nodes around the middle of their LAN, links between nodes, pods around the node that is chosen. WebGL by sigma; where
// a browser has none, the table has everything that the map has.
import { MultiUndirectedGraph } from 'graphology'
import Sigma from 'sigma'
import { around, placesOf } from '../layout.ts'
import type { LinkState, MapLink, MapModel, NodeSnapshot, NodeState } from '../model.ts'

export type GraphEvents = { node: (name: string) => void; pod: (name: string) => void; nothing: () => void }

const NODE_COLORS: Record<NodeState, string> = { ready: '--good', 'not ready': '--bad', silent: '--away' }
const LINK_COLORS: Record<LinkState, string> = {
  passes: '--good',
  suspect: '--warn',
  lost: '--bad',
  'no session': '--warn',
  unknown: '--line',
}

/** With more links than this the map would be one green spot. */
const MOST_DRAWN = 150

/** Ids of sigma: nodes, middles of LANs and pods could have the same names. */
const nodeId = (name: string) => `node ${name}`
const lanId = (subnet: string) => `lan ${subnet}`
const podId = (name: string) => `pod ${name}`

export class MapGraph {
  readonly #graph = new MultiUndirectedGraph()
  readonly #sigma: Sigma
  readonly #box: HTMLElement
  #model: MapModel | undefined
  #chosen: NodeSnapshot | undefined
  #chosenName: string | undefined
  #found: ReadonlySet<string> | undefined
  #way: { from: string; to: string; color: string } | undefined

  /** Throws where the browser has no WebGL. */
  constructor(box: HTMLElement, on: GraphEvents) {
    this.#box = box
    this.#sigma = new Sigma(this.#graph, box, {
      labelFont: 'system-ui, sans-serif',
      labelColor: { attribute: 'labelColor' },
      labelRenderedSizeThreshold: 4,
      labelDensity: 0.7,
      zIndex: true,
      stagePadding: 50,
      minCameraRatio: 0.02,
      maxCameraRatio: 3,
      allowInvalidContainer: true,
    })
    this.#sigma.on('clickNode', ({ node }) => {
      const name = this.#graph.getNodeAttribute(node, 'name') as string
      if (node.startsWith('node ')) on.node(name)
      else if (node.startsWith('pod ')) on.pod(name)
    })
    this.#sigma.on('clickStage', () => on.nothing())
    box.addEventListener('keydown', event => this.#key(event, on))
  }

  /** Draws a model. Nodes that stay keep their places, and the view stays as it is. */
  draw(model: MapModel): void {
    this.#model = model
    this.#redraw()
  }

  /** The node that is chosen, with its pods around it. */
  choose(name: string | undefined, last: NodeSnapshot | undefined): void {
    this.#chosenName = name
    this.#chosen = last
    this.#redraw()
  }

  /** Nodes that are not in `names` are drawn pale; undefined: all are as they are. */
  find(names: ReadonlySet<string> | undefined): void {
    this.#found = names
    this.#redraw()
  }

  /** Draws the way between two nodes that was asked about. */
  way(way: { from: string; to: string; verdict: 'passes' | 'stopped' | 'unknown' } | undefined): void {
    const color = { passes: '--good', stopped: '--bad', unknown: '--warn' }
    this.#way = way && { from: way.from, to: way.to, color: color[way.verdict] }
    this.#redraw()
  }

  /** After the theme or the size changed. */
  refresh(): void {
    this.#redraw()
    this.#sigma.resize()
  }

  #redraw(): void {
    const model = this.#model
    if (model === undefined) return
    const color = colorsOf(this.#box)
    const [graph, places] = [this.#graph, placesOf(model.nodes)]
    const size = model.nodes.length > 300 ? 4 : model.nodes.length > 60 ? 7 : 11
    const wanted = new Set<string>()
    const put = (id: string, attributes: Record<string, unknown>) => {
      wanted.add(id)
      graph.mergeNode(id, { labelColor: color('--text'), ...attributes })
    }
    for (const [lan, place] of places.lans) {
      put(lanId(lan), { ...place.middle, size: 2, color: color('--line'), label: '', zIndex: 0 })
      const label = lan === '' ? 'LAN not known' : lan
      put(`name ${lan}`, { ...place.name, size: 0.1, color: color('--line'), label, forceLabel: true, zIndex: 0 })
    }
    for (const { name, state, wrong } of model.nodes) {
      const isPale = this.#found !== undefined && !this.#found.has(name)
      put(nodeId(name), {
        ...places.nodes.get(name)!,
        ...{ name, zIndex: 2, size: name === this.#chosenName ? size * 1.5 : size },
        color: color(isPale ? '--line' : state === 'ready' && wrong.length > 0 ? '--warn' : NODE_COLORS[state]),
        label: state === 'ready' ? name : `${name} (${state})`,
        forceLabel: name === this.#chosenName,
      })
    }
    this.#pods(put, color, places.nodes)
    for (const id of graph.nodes()) if (!wanted.has(id)) graph.dropNode(id)
    graph.clearEdges()
    for (const { name, lan } of model.nodes)
      graph.addEdge(nodeId(name), lanId(lan), { color: color('--line'), size: 0.5, zIndex: 0 })
    for (const { from, to, state } of this.#links(model))
      graph.addEdge(nodeId(from), nodeId(to), {
        ...{ color: color(LINK_COLORS[state]), zIndex: state === 'passes' ? 1 : 2 },
        size: state === 'passes' || state === 'unknown' ? 1 : 3,
      })
    for (const id of graph.nodes())
      if (id.startsWith('pod '))
        graph.addEdge(id, nodeId(this.#chosenName!), { color: color('--line'), size: 0.5, zIndex: 0 })
    const way = this.#way
    if (way !== undefined && graph.hasNode(nodeId(way.from)) && graph.hasNode(nodeId(way.to)) && way.from !== way.to)
      graph.addEdge(nodeId(way.from), nodeId(way.to), { color: color(way.color), size: 6, zIndex: 3 })
    this.#sigma.refresh()
  }

  /** Of many links those with a fault and those of the node that is chosen. */
  #links({ links }: MapModel): MapLink[] {
    if (links.length <= MOST_DRAWN) return links
    const isOfChosen = ({ from, to }: MapLink) => from === this.#chosenName || to === this.#chosenName
    return links.filter(link => (link.state !== 'passes' && link.state !== 'unknown') || isOfChosen(link))
  }

  #pods(
    put: (id: string, attributes: Record<string, unknown>) => void,
    color: (name: string) => string,
    places: ReadonlyMap<string, { x: number; y: number }>,
  ): void {
    const middle = places.get(this.#chosenName ?? '')
    if (this.#chosen === undefined || middle === undefined) return
    const { pods } = this.#chosen
    for (const [at, { namespace, name }] of pods.entries()) {
      const full = `${namespace}/${name}`
      put(podId(full), {
        ...around(middle, at, pods.length, pods.length > 24 ? 0.9 : 4.5),
        ...{ name: full, label: full, size: pods.length > 24 ? 2.5 : 5, color: color('--link'), zIndex: 3 },
      })
    }
  }

  #key(event: KeyboardEvent, on: GraphEvents): void {
    const camera = this.#sigma.getCamera()
    const direction = {
      ArrowUp: [0, 1],
      ArrowDown: [0, -1],
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
    }[event.key]
    if (direction !== undefined) {
      const next = this.#next(direction[0]!, direction[1]!)
      if (next !== undefined) on.node(next)
    } else if (event.key === 'Escape') on.nothing()
    else if (event.key === '+') void camera.animatedZoom({ duration: 150 })
    else if (event.key === '-') void camera.animatedUnzoom({ duration: 150 })
    else return
    event.preventDefault()
  }

  /** The nearest node in a direction from the one that is chosen, or the first one. */
  #next(dx: number, dy: number): string | undefined {
    const all = (this.#model?.nodes ?? []).map(({ name }) => name)
    const at = (name: string) => this.#graph.getNodeAttributes(nodeId(name)) as { x: number; y: number }
    if (this.#chosenName === undefined || !this.#graph.hasNode(nodeId(this.#chosenName))) return all[0]
    const here = at(this.#chosenName)
    let best: { name: string; cost: number } | undefined
    for (const name of all) {
      const { x, y } = at(name)
      const ahead = (x - here.x) * dx + (y - here.y) * dy
      if (ahead <= 0.01) continue
      const aside = Math.abs((x - here.x) * dy) + Math.abs((y - here.y) * dx)
      const cost = ahead + 2 * aside
      if (best === undefined || cost < best.cost) best = { name, cost }
    }
    return best?.name
  }
}

/** The colours of the theme that is on. */
function colorsOf(box: HTMLElement): (name: string) => string {
  // a custom property keeps light-dark() as text: an element that has it as its colour tells what it comes to
  const probe = document.createElement('span')
  box.append(probe)
  const known = new Map<string, string>()
  for (const name of ['--text', '--line', '--link', '--good', '--bad', '--warn', '--away']) {
    probe.style.color = `var(${name})`
    known.set(name, getComputedStyle(probe).color)
  }
  probe.remove()
  return name => known.get(name) ?? '#888'
}
