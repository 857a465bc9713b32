// What the page asks its server for.
import type { Flow, NodeEvent } from '../../api/answers.ts'
import type { Explanation } from '../../api/explanation.ts'
import type { MapLink, MapModel, PolicyPeer, SeenNode } from '../model.ts'

export type NodeAnswer = SeenNode & { links: MapLink[] }

/** Gives the token of the address back, once; false where the session is not open. */
export async function openSession(): Promise<boolean> {
  const token = location.hash.slice(1)
  if (token === '') return (await fetch('/v1/graph')).ok
  // out of the address and of the history
  history.replaceState(null, '', location.pathname)
  const answer = await fetch('/session', { method: 'POST', body: token })
  return answer.ok || (await fetch('/v1/graph')).ok
}

export const graph = (): Promise<MapModel> => read('/v1/graph')
export const node = (name: string): Promise<NodeAnswer> => read(`/v1/node?${new URLSearchParams({ name })}`)
export const policy = (pod: string, protocol: string): Promise<{ peers: PolicyPeer[]; more: number }> =>
  read(`/v1/policy?${new URLSearchParams({ pod, ...(protocol !== '' && { protocol }) })}`)
export const flows = (): Promise<(Flow & { node: string })[]> => read('/v1/flows')
export const events = (): Promise<(NodeEvent & { node: string })[]> => read('/v1/events')
export const explain = (from: string, to: string, protocol: string): Promise<{ explanations: Explanation[] }> =>
  read(`/v1/explain?${new URLSearchParams({ from, to, ...(protocol !== '' && { protocol }) })}`)

/** Rejects with what the server says. */
async function read<T>(path: string): Promise<T> {
  const answer = await fetch(path)
  const value = (await answer.json()) as T | { error: string }
  if (!answer.ok) throw new Error((value as { error: string }).error)
  return value as T
}
