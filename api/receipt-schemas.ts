// PolicyReceipt and PolicyStatus as programs read them; policy-receipts.ts says what stands in them.
import * as z from 'zod'
import { objectMeta } from './meta.ts'

/** Most policies that one receipt names: 20 octets each, and an object has 1.5 MB at the most. */
export const MOST_ENFORCED = 16_384
/** Most policies that one receipt explains. */
export const MOST_FAILING = 256

export const policyReceipt = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    worked: z.record(z.string(), z.string()),
    pods: z.string().optional(),
    late: z.string().optional(),
    reflection: z
      .looseObject({ step: z.int(), via: z.array(z.string()), direct: z.boolean(), held: z.boolean().optional() })
      .optional(),
    enforced: z.array(z.string()).max(MOST_ENFORCED),
    failing: z
      .array(z.looseObject({ policy: z.string(), revision: z.string(), reason: z.string(), message: z.string() }))
      .max(MOST_FAILING),
  }),
})

/**
 * What a node says of itself. `worked`: by kind, the digest of the policies that it has worked through: each of them is enforced
 * wherever an endpoint of the node asks it, or is in `failing`. `enforced`: the revisions of those that some endpoint asks and that
 * are in its kernel as they say. `pods`: no set of its kernel has an address of a pod that was gone in this version of Pods. `late`: an
 * address of a pod that was gone in this version went to another pod, before all nodes had said that. A node with more than MOST_ENFORCED of them says of no kind that it is through.
 * `reflection`: of the automatic reflectors of this step, those from which it has all routes of the mesh, itself among them where it is
 * one; `direct`: it has all of them from the nodes that they are of; `held`: the step is the last one that it followed, and what stands in the
 * ClusterInformation now is not what it goes by.
 */
export type PolicyReceipt = z.output<typeof policyReceipt>['spec']

export type ReflectionReceipt = NonNullable<PolicyReceipt['reflection']>

const lag = z.looseObject({ node: z.string(), reason: z.string(), message: z.string() })

export const policyStatus = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({ kind: z.string(), namespace: z.string().optional(), name: z.string() }),
  status: z
    .looseObject({
      generation: z.number().optional(),
      revision: z.string(),
      nodesRequired: z.int(),
      nodesEnforcing: z.int(),
      nodes: z.string(),
      since: z.string(),
      lagging: z.array(lag),
      laggingNodes: z.string(),
    })
    .optional(),
})
