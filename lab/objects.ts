// Puts objects into the lab's API server, changes and deletes them there. A program of its own, since it must run where that server
// can be reached: `node lab/objects.ts KUBECONFIG LIMIT_SECONDS`. Every line on standard input is a JSON object with lists of
// kinds and objects to put, to patch or to remove, in that order; each is answered with a line: `ok`, or what went wrong. It waits for
// the server once.
import { createInterface } from 'node:readline'
import type { Resource } from '../api/kinds.ts'
import { openStore } from '../datastore/kube.ts'
import { Conflict, NotFound, type Store, Unreachable } from '../datastore/port.ts'
import type { ClusterObject, ObjectsRequest } from './cluster.ts'

const [kubeconfig, limitSeconds] = process.argv.slice(2)
const store = openStore({ kubeconfig })
let ready: Promise<void> | undefined
for await (const line of createInterface({ input: process.stdin })) {
  try {
    ready ??= answering(store, Number(limitSeconds) * 1000)
    await ready
    const { put: wanted = [], patch: changes = [], remove: unwanted = [] } = JSON.parse(line) as ObjectsRequest
    for (const each of wanted) await put(store, each)
    for (const { kind, name, patch } of changes) await store.patch(kind, name, patch)
    for (const each of unwanted) await remove(store, each)
    process.stdout.write('ok\n')
  } catch (error) {
    process.stdout.write(`${(error as Error).message.replaceAll('\n', ' ')}\n`)
  }
}
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

/** An object that exists keeps its spec. Status is a subresource: a create does not take it. */
async function put(store: Store, { kind, object }: ClusterObject): Promise<void> {
  const resource = object as Resource<typeof kind>
  try {
    await store.create(kind, resource)
  } catch (error) {
    if (!(error instanceof Conflict)) throw error
  }
  const { name, namespace } = resource.metadata
  if ('status' in resource && resource.status !== undefined)
    await store.patch(kind, name, { status: resource.status }, { namespace, subresource: 'status' })
}

async function remove(store: Store, { kind, object }: ClusterObject): Promise<void> {
  const { name, namespace } = (object as Resource<typeof kind>).metadata
  try {
    await store.delete(kind, name, { namespace })
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
  }
}
