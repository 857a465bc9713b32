// What the map shows, from what nodes say of themselves. Pure: the page draws it, and works nothing out of its own.
// A node says little of itself, so that a thousand can be asked again and again: of sessions that are up the number alone.
import * as z from 'zod'
import type { Status } from '../api/answers.ts'
import { condition } from '../api/status-answers.ts'

/** Most of each list that a snapshot or an answer of the map has. */
const MOST = { pods: 500, blocks: 256, wrong: 50, sessions: 50, paths: 64 } as const

/** More links than this are not drawn all: those with a fault are, and those of the node that is chosen. */
const MOST_LINKS = 2_000

/** What a node’s probes say of the way to another node: a part of `PathFacts`. */
const snapshotPath = z.object({
  node: z.string(),
  /** Absent: there is no route. */
  encapsulation: z.enum(['direct', 'ipip', 'vxlan']).optional(),
  state: z.enum(['unknown', 'passes', 'suspect', 'lost', 'absent']),
  sinceMs: z.number(),
})

/** What one node says. `more`: how many of each list are left out. */
export const nodeSnapshot = z.object({
  node: z.string(),
  atMs: z.number(),
  address: z.string().optional(),
  subnet: z.string().optional(),
  ready: z.boolean(),
  wrong: z.array(condition),
  pods: z.array(z.object({ namespace: z.string(), name: z.string(), addresses: z.array(z.string()) })),
  podCount: z.number(),
  blocks: z.array(z.object({ cidr: z.string(), pool: z.string(), used: z.number(), size: z.number() })),
  sessions: z.object({
    up: z.number(),
    down: z.array(
      z.object({
        name: z.string(),
        address: z.string(),
        state: z.string(),
        reason: z.string(),
        detail: z.string(),
        remedy: z.string(),
      }),
    ),
    downCount: z.number(),
  }),
  paths: z.array(snapshotPath),
})

export type NodeSnapshot = z.infer<typeof nodeSnapshot>
export type SnapshotPath = z.infer<typeof snapshotPath>

/** Of a node that does not answer: what it said last, if it ever did. */
export type SeenNode = { node: string; silent?: string; last?: NodeSnapshot }

/** Shortens what a node says of itself. `status` of one agent. */
export function snapshotOf(status: Status, paths: readonly SnapshotPath[], atMs: number): NodeSnapshot {
  const { node = '', address, subnet, ready, conditions, peers, blocks = [], endpoints = [] } = status
  const down = peers.filter(({ state }) => state !== 'Established')
  const named = endpoints.filter(({ pod }) => pod !== undefined)
  return {
    ...{ node, atMs, address, subnet, ready },
    wrong: conditions.filter(({ status: is }) => is !== 'True').slice(0, MOST.wrong),
    pods: named.slice(0, MOST.pods).map(({ pod, addresses }) => ({ ...pod!, addresses })),
    podCount: named.length,
    blocks: blocks.slice(0, MOST.blocks),
    sessions: {
      up: peers.length - down.length,
      down: down.slice(0, MOST.sessions).map(({ name, address: at, state, reason, detail, remedy }) => ({
        name,
        address: at,
        state,
        reason,
        detail,
        remedy,
      })),
      downCount: down.length,
    },
    // those with a fault first: what is left out passes
    paths: paths.toSorted((a, b) => rankOf(a) - rankOf(b)).slice(0, MOST.paths),
  }
}

export type NodeState = 'ready' | 'not ready' | 'silent'

/** A node as the map draws it. `lan`: the subnet of its address, or '' where it does not say. */
export type MapNode = {
  name: string
  address: string
  lan: string
  state: NodeState
  /** Why it does not answer. */
  silent?: string
  /** How old what it says is, in milliseconds; absent where it never said anything. */
  ageMs?: number
  pods: number
  blocks: number
  sessions: { up: number; down: number }
  /** The types of the conditions that are not True. */
  wrong: string[]
}

/** What policies say between a pod and another one: `to` what that one may begin with the other, `from` the other way. */
export type PolicyPeer = { pod: string; to: PolicyWord; from: PolicyWord }
export type PolicyWord = { action: 'allow' | 'deny'; by: string }

export type LinkState = 'passes' | 'suspect' | 'lost' | 'no session' | 'unknown'

/** Two nodes that know of each other, `from` < `to`. `state`: the worst that either of them says. */
export type MapLink = { from: string; to: string; way?: SnapshotPath['encapsulation']; state: LinkState }

export type MapModel = {
  atMs: number
  nodes: MapNode[]
  links: MapLink[]
  vital: readonly string[]
  /** How many links there are; only those with a fault are in `links` where they are too many. */
  linkCount: number
  counts: { ready: number; notReady: number; silent: number; pods: number; lost: number }
}

/** The map of a cluster. Nodes in the order of their names. `vital`: the types of conditions without which a node is not ready. */
export function mapOf(seen: readonly SeenNode[], nowMs: number, vital: readonly string[]): MapModel {
  const nodes = seen.toSorted(byName).map(each => mapNode(each, nowMs))
  const links = linksOf(seen)
  const shown = links.length <= MOST_LINKS ? links : links.filter(({ state }) => isFault(state))
  const count = (state: NodeState) => nodes.filter(each => each.state === state).length
  return {
    atMs: nowMs,
    vital,
    nodes,
    links: shown.slice(0, MOST_LINKS),
    linkCount: links.length,
    counts: {
      ...{ ready: count('ready'), notReady: count('not ready'), silent: count('silent') },
      pods: nodes.reduce((sum, { pods }) => sum + pods, 0),
      lost: links.filter(({ state }) => isFault(state)).length,
    },
  }
}

/** The links of one node. */
export function linksAt(seen: readonly SeenNode[], name: string): MapLink[] {
  return linksOf(seen).filter(({ from, to }) => from === name || to === name)
}

function mapNode({ node, silent, last }: SeenNode, nowMs: number): MapNode {
  const state = silent !== undefined || last === undefined ? 'silent' : last.ready ? 'ready' : 'not ready'
  return {
    name: node,
    address: last?.address ?? '',
    lan: last?.subnet ?? '',
    state,
    ...(silent !== undefined && { silent }),
    ...(last !== undefined && { ageMs: Math.max(0, nowMs - last.atMs) }),
    pods: last?.podCount ?? 0,
    blocks: last?.blocks.length ?? 0,
    sessions: { up: last?.sessions.up ?? 0, down: last?.sessions.downCount ?? 0 },
    wrong: [...new Set(last?.wrong.map(({ type }) => type) ?? [])],
  }
}

function linksOf(seen: readonly SeenNode[]): MapLink[] {
  const byAddress = new Map(seen.flatMap(({ node, last }) => (last?.address ? [[last.address, node] as const] : [])))
  const known = new Set(seen.map(({ node }) => node))
  const links = new Map<string, MapLink>()
  const add = (one: string, other: string, state: LinkState, way?: SnapshotPath['encapsulation']) => {
    if (one === other || !known.has(one) || !known.has(other)) return
    const [from, to] = one < other ? [one, other] : [other, one]
    const key = JSON.stringify([from, to])
    const link = links.get(key) ?? { from, to, state: 'unknown' as const }
    links.set(key, { ...link, way: link.way ?? way, state: worse(link.state, state) })
  }
  for (const { node, last, silent } of seen) {
    // what a node that does not answer said last is no news of its links
    if (last === undefined || silent !== undefined) continue
    for (const { node: far, state, encapsulation } of last.paths) {
      if (state === 'absent') continue
      add(node, far, state, encapsulation)
    }
    for (const { address } of last.sessions.down) add(node, byAddress.get(address) ?? '', 'no session')
  }
  return [...links.values()].toSorted((a, b) => compared(a.from, b.from) || compared(a.to, b.to))
}

const RANKS: readonly LinkState[] = ['unknown', 'passes', 'suspect', 'no session', 'lost']

function worse(one: LinkState, other: LinkState): LinkState {
  return RANKS.indexOf(one) >= RANKS.indexOf(other) ? one : other
}

function isFault(state: LinkState): boolean {
  return state !== 'passes' && state !== 'unknown'
}

function rankOf({ state }: SnapshotPath): number {
  return ['lost', 'suspect', 'unknown', 'passes', 'absent'].indexOf(state)
}

function byName(one: SeenNode, other: SeenNode): number {
  return compared(one.node, other.node)
}

function compared(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}
