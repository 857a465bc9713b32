// Where the map draws each node: the same nodes have the same places in every browser, and a node that comes moves few others. Pure.

export type Placed = { x: number; y: number }
/** `lan`: which nodes are beside each other; '' where that is not known. */
export type ToPlace = { name: string; lan: string }

/** Between neighbours within a LAN. */
const GAP = 10
/** The angle of a sunflower's seeds: no two of them are ever in a line. */
const GOLDEN = Math.PI * (3 - Math.sqrt(5))

/** The places of all nodes by name, and of the middle and the name of each LAN by its subnet. Nodes of one LAN lie around its middle, LANs on a ring. */
export function placesOf(nodes: readonly ToPlace[]): {
  nodes: Map<string, Placed>
  lans: Map<string, { middle: Placed; name: Placed }>
} {
  const byLan = [...Map.groupBy(nodes, ({ lan }) => lan)].toSorted(([a], [b]) => (a < b ? -1 : 1))
  const radii = byLan.map(([, members]) => radiusOf(members.length))
  const ring = ringOf(radii)
  const places = new Map<string, Placed>()
  const lans = new Map<string, { middle: Placed; name: Placed }>()
  let angle = -Math.PI / 2
  byLan.forEach(([lan, members], i) => {
    const half = ring === 0 ? 0 : Math.asin(Math.min(1, (radii[i]! + GAP) / ring))
    angle += half
    const middle = { x: ring * Math.cos(angle), y: ring * Math.sin(angle) }
    angle += half
    lans.set(lan, { middle, name: { x: middle.x - GAP, y: middle.y + radii[i]! + GAP } })
    for (const [at, { name }] of members.toSorted((a, b) => (a.name < b.name ? -1 : 1)).entries())
      places.set(name, around(middle, at, members.length, GAP))
  })
  return { nodes: places, lans }
}

/** The place of the `at`-th of `count` things around a middle: a ring of a few, a sunflower of many. */
export function around({ x, y }: Placed, at: number, count: number, gap: number): Placed {
  const isRing = count <= 8
  const radius = isRing ? Math.max(gap, (gap * count) / (2 * Math.PI)) : gap * Math.sqrt(at + 2)
  const angle = isRing ? (2 * Math.PI * at) / count - Math.PI / 2 : at * GOLDEN
  return { x: x + radius * Math.cos(angle), y: y + radius * Math.sin(angle) }
}

function radiusOf(count: number): number {
  return count <= 8 ? Math.max(GAP, (GAP * count) / (2 * Math.PI)) : GAP * Math.sqrt(count + 2)
}

/** A ring on which circles of these radii have room beside each other. */
function ringOf(radii: readonly number[]): number {
  if (radii.length < 2) return 0
  const sum = radii.reduce((total, radius) => total + radius + GAP, 0)
  const largest = Math.max(...radii) + GAP
  // wide enough where every circle takes the angle that it hides, and for two the sum of both
  return Math.max(largest * 1.2, sum / Math.min(Math.PI, radii.length))
}
