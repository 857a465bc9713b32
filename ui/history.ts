// The map as it was: which promises each node broke at a time, from the changes of conditions that its recorder has. Pure.
// What changed before the records begin is not known: a promise is taken to have been as it was before its first change here, and
// one without a change as it is now. What was summed in one event ("20 changes") is left out.
import type { NodeEvent } from '../api/answers.ts'
import type { MapLink, MapModel, MapNode } from './model.ts'

export type ToldEvent = NodeEvent & { node: string }

/** One promise of one object at one node. */
type Kept = { node: string; type: string; object: ToldEvent['object']; changes: { atMs: number; isBroken: boolean }[] }

/** `now` with the nodes as they were. Of links those alone are known that a condition told of: a path that was lost. */
export function mapAt(now: MapModel, events: readonly ToldEvent[], atMs: number): MapModel {
  const promises = promisesOf(events)
  const nodes = now.nodes.map(node => nodeAt(node, promises.get(node.name) ?? [], atMs, now.vital))
  const names = new Set(nodes.map(({ name }) => name))
  const links = [...promises.values()].flat().flatMap((promise): MapLink[] => {
    const { node, type, object } = promise
    if (type !== 'PathsPass' || object.kind !== 'Node' || !isBrokenAt(promise, atMs)) return []
    if (!names.has(node) || !names.has(object.name) || node === object.name) return []
    const [from, to] = [node, object.name].toSorted() as [string, string]
    return [{ from, to, state: 'lost' }]
  })
  const unique = [...new Map(links.map(link => [JSON.stringify(link), link])).values()]
  const count = (state: MapNode['state']) => nodes.filter(each => each.state === state).length
  return {
    ...{ vital: now.vital, atMs, nodes, links: unique, linkCount: unique.length },
    counts: {
      ...now.counts,
      ...{ ready: count('ready'), notReady: count('not ready'), silent: count('silent'), lost: unique.length },
    },
  }
}

function nodeAt(node: MapNode, promises: readonly Kept[], atMs: number, vital: readonly string[]): MapNode {
  if (node.state === 'silent') return node
  const changed = new Set(promises.map(({ type }) => type))
  const still = node.wrong.filter(type => !changed.has(type))
  const wrong = [...new Set([...still, ...promises.filter(each => isBrokenAt(each, atMs)).map(({ type }) => type)])]
  return { ...node, wrong, state: wrong.some(type => vital.includes(type)) ? 'not ready' : 'ready' }
}

function promisesOf(events: readonly ToldEvent[]): Map<string, Kept[]> {
  const promises = new Map<string, Kept>()
  for (const { node, at, type: kind, object, reason, message } of events.toSorted((a, b) => (a.at < b.at ? -1 : 1))) {
    const [type = ''] = message.split(':')
    if (kind !== 'ConditionChanged' || /^\w+: \d+ changes: /.test(message)) continue
    const key = JSON.stringify([node, type, object.kind, object.namespace, object.name])
    const promise = promises.get(key) ?? { node, type, object, changes: [] }
    promises.set(key, promise)
    promise.changes.push({ atMs: Date.parse(at), isBroken: reason !== 'Ok' })
  }
  return Map.groupBy(promises.values(), ({ node }) => node)
}

function isBrokenAt({ changes }: Kept, atMs: number): boolean {
  const last = changes.findLast(change => change.atMs <= atMs)
  return last === undefined ? changes[0]?.isBroken === false : last.isBroken
}
