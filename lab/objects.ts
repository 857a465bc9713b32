// Puts objects into the lab's API server. A program of its own, since it must run where that server can be reached:
// `node lab/objects.ts KUBECONFIG LIMIT_SECONDS`, with a JSON list of kinds and objects on standard input. It waits
// until the server answers; an object that exists already is left as it is.
import { readFileSync } from 'node:fs'
import type { Resource } from '../api/kinds.ts'
import { openStore } from '../datastore/kube.ts'
import { Conflict, type Store, Unreachable } from '../datastore/port.ts'
import type { ClusterObject } from './cluster.ts'

const [kubeconfig, limitSeconds] = process.argv.slice(2)
const objects = JSON.parse(readFileSync(0, 'utf8')) as ClusterObject[]
const store = openStore({ kubeconfig })
await answering(store, Number(limitSeconds) * 1000)
// A namespace comes before what lies in it.
await Promise.all(objects.filter(({ kind }) => kind !== 'Pod').map(each => put(store, each)))
await Promise.all(objects.filter(({ kind }) => kind === 'Pod').map(each => put(store, each)))
await store.close()

async function answering(store: Store, limitMs: number): Promise<void> {
  const end = performance.now() + limitMs
  for (;;) {
    try {
      await store.list('Namespace')
      return
    } catch (error) {
      if (!(error instanceof Unreachable) || performance.now() > end) throw error
      await new Promise(resolve => setTimeout(resolve, 30))
    }
  }
}

/** Status is a subresource: a create does not take it. */
async function put(store: Store, { kind, object }: ClusterObject): Promise<void> {
  const resource = object as Resource<typeof kind>
  try {
    await store.create(kind, resource)
  } catch (error) {
    if (!(error instanceof Conflict)) throw error
  }
  if ('status' in resource && resource.status !== undefined)
    await store.patch(kind, resource.metadata.name, { status: resource.status }, { subresource: 'status' })
}
