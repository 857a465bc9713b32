// Kubernetes object metadata, as far as Margay reads or writes it. Unknown fields are kept.
import * as z from 'zod'

export const objectMeta = z.looseObject({
  name: z.string().min(1).max(253),
  namespace: z.string().optional(),
  uid: z.string().optional(),
  resourceVersion: z.string().optional(),
  generation: z.number().optional(),
  creationTimestamp: z.string().optional(),
  deletionTimestamp: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  finalizers: z.array(z.string()).optional(),
  ownerReferences: z
    .array(z.looseObject({ apiVersion: z.string(), kind: z.string(), name: z.string(), uid: z.string() }))
    .optional(),
})

/** A condition as Kubernetes shows it; `reason` is for machines, `message` names the remedy. */
export const condition = z.looseObject({
  type: z.string(),
  status: z.enum(['True', 'False', 'Unknown']),
  reason: z.string(),
  message: z.string(),
  lastTransitionTime: z.string().optional(),
  observedGeneration: z.number().optional(),
})

export const conditionList = z.array(condition)

export type ObjectMeta = z.infer<typeof objectMeta>
export type ObjectCondition = z.infer<typeof condition>
