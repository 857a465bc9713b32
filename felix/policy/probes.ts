// Path probes (agent/probes/) and policies: echoes over the interface of probes pass, whatever policies say of pods and of what is
// forwarded, and nothing else does. A default deny for all would else look like a network that drops packets of pods. Their answers
// pass as those of every known connection.
import { PROBE_INTERFACE } from '../../kernel/pod-interface.ts'
import { fromInterface, isIcmp, type Steps, toInterface } from '../calc/nft-expressions.ts'

const ECHO = { ipv4: 8, ipv6: 128 } as const
const ACCEPT: Steps = [{ type: 'immediate', load: 0, data: { verdict: 'accept' } }]

/** Rules that accept echoes that come from (`iifname`) or go to (`oifname`) the interface of probes of this node. */
export function echoOfProbes(key: 'iifname' | 'oifname'): { expressions: Steps; comment: string }[] {
  const through = key === 'iifname' ? fromInterface(PROBE_INTERFACE) : toInterface(PROBE_INTERFACE)
  return (['ipv4', 'ipv6'] as const).map(family => ({
    expressions: [...through, ...isIcmp(family, ECHO[family]), ...ACCEPT],
    comment: 'path probes',
  }))
}
