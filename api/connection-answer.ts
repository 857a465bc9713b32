// The connections that pods of a node have open, as its agent tells them.
import * as z from 'zod'

/** Connections that pods have open, to one port of one address; `destination` behind the translation of Services. */
const openConnection = z.object({
  source: z.string(),
  destination: z.string(),
  protocol: z.number(),
  destinationPort: z.number().optional(),
  icmp: z.object({ type: z.number(), code: z.number() }).optional(),
  count: z.number(),
})

export type OpenConnection = z.infer<typeof openConnection>

/** Different ones: an agent tells 10,000 at the most. */
export const connectionsAnswer = z.array(openConnection)
