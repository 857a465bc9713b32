// A route that other nodes and routers announced, as the agent tells it.
import * as z from 'zod'

const path = z.object({
  nextHop: z.string(),
  interface: z.string().optional(),
  /** Tunnel types of RFC 9012. */
  encapsulations: z.array(z.number()),
})

export const learnedRoute = z.object({
  prefix: z.string(),
  ...path.shape,
  /** Where two or more are used: all of them, the best first. */
  paths: z.array(z.object({ ...path.shape, weight: z.number().optional() })).optional(),
})
