// The neighbors of a speaker in the JSON of openconfig-bgp, as both programs answer; agent/openconfig.ts makes them.
import * as z from 'zod'

/** RFC 7951. Only the outermost names are checked: what stands below is the model's. */
export const openconfigAnswer = z.looseObject({
  'openconfig-bgp:neighbors': z.looseObject({ neighbor: z.array(z.looseObject({ 'neighbor-address': z.string() })) }),
})

export type OpenconfigAnswer = z.infer<typeof openconfigAnswer>
