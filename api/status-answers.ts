// Conditions, events and the objects that they name as programs send them. `api/status.ts` has the words; a later program may
// have more of them.
import * as z from 'zod'

export const objectRef = z.object({ kind: z.string(), name: z.string(), namespace: z.string().optional() })

/** An object as an answer names it. */
export type NamedObject = z.infer<typeof objectRef>

export const condition = z.object({
  type: z.string(),
  status: z.enum(['True', 'False', 'Unknown']),
  reason: z.string(),
  message: z.string(),
  remedy: z.string(),
  object: objectRef.optional(),
  page: z.string().optional(),
  sinceMs: z.number().optional(),
})

/** A condition as an answer tells it. */
export type ToldCondition = z.infer<typeof condition>

export const event = z.object({
  at: z.string(),
  type: z.string(),
  object: objectRef,
  reason: z.string(),
  message: z.string(),
})
