// Copies of the packets that rules log or deny, for the agent to read (NFLOG). A rule that hands out copies is one of its own,
// before the one that decides: where its limit is reached it does not match, and must not change what becomes of the packet.
import type { Steps } from '../calc/nft-expressions.ts'
import type { LogLimit } from './model.ts'
import { type NamedRule, ruleText } from './rule-text.ts'

/** The NFLOG group of all copies of policy, in the agent's network namespace. No other program may read it. */
export const FLOW_GROUP = 80

/** Of rules that deny: one packet tells of a flow, and senders repeat it. */
const DENIED_LIMIT: LogLimit = { rate: 10, per: 'second', burst: 20 }
/** Of rules with the action Log where FelixConfiguration says nothing (Calico has no limit then). */
export const LOG_LIMIT: LogLimit = { rate: 100, per: 'second', burst: 100 }

/** `limit rate 10/second burst 20 packets log prefix "tier default ingress deny" group 80`. */
export function copied(rule: NamedRule, limit: LogLimit = DENIED_LIMIT): Steps {
  return [
    { type: 'limit', unit: 'packets', ...limit },
    { type: 'log', group: FLOW_GROUP, prefix: ruleText(rule) },
  ]
}
