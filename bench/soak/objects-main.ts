// What a soak asks of the API server, as a program, since that server answers in its own namespace:
// `node bench/soak/objects-main.ts KUBECONFIG` prints `ObjectsSeen` as JSON.
import { openStore } from '../../datastore/kube.ts'
import { calicoObjects, calicoProblems } from '../../test/ipam/calico-check.ts'
import type { ObjectsSeen } from './holdings.ts'

const [kubeconfig] = process.argv.slice(2)
const store = openStore({ kubeconfig })
const objects = await calicoObjects(store)
await store.close()
const problems = calicoProblems(objects, ['at once', 'published'], { nowMs: Date.now() })
const seen: ObjectsSeen = {
  problems: problems.map(({ rule, about }) => `${rule}: ${about}`),
  blocks: objects.blocks.map(({ spec }) => ({
    cidr: spec.cidr,
    owner: spec.affinity?.replace('host:', '') ?? 'nobody',
  })),
}
process.stdout.write(JSON.stringify(seen))
