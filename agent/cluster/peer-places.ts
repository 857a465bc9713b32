// Where a BGPPeer without an address has its peers, which Calico has no field for: on a link (`margay.io/Interface`). Pure. An annotation
// that makes no sense closes the session, also where there is an address beside it: it is never another one than was asked for.
import { BGP_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import type { ConditionCause } from '../../api/status.ts'

/** `fault`: why there is no session. Both are absent where the BGPPeer names or selects its peers otherwise. */
export type AskedPlace = { place?: PeerPlace; fault?: ConditionCause }
export type PeerPlace = { interface: string }

/** What the BGPPeer names or selects beside, which would be another peer. */
const OTHERS = ['peerIP', 'peerSelector', 'localWorkloadSelector'] as const
/** IFNAMSIZ without its end; the kernel takes no white space, slash and colon (dev_valid_name, net/core/dev.c). */
const INTERFACE = /^[^\s/:]{1,15}$/
const PATTERN = /[*?[\]]/

/** An empty annotation counts as none. */
export function askedPlace({ metadata: { annotations = {} }, spec }: Resource<'BGPPeer'>): AskedPlace {
  const name = BGP_ANNOTATION.interface
  const text = annotations[name]?.trim() ?? ''
  if (text === '') return {}
  const said = `annotation ${name} is ${JSON.stringify(text.slice(0, 80))}`
  const other = OTHERS.find(field => (spec[field] ?? '') !== '')
  if (other !== undefined)
    return bad('TwoPlaces', `${said}, and ${other} is set too: one peer cannot be both`, `remove ${other} or ${name}`)
  if (PATTERN.test(text))
    return bad('BadInterface', `${said}: patterns are not taken`, 'create a BGPPeer for each interface, by its name')
  if (!INTERFACE.test(text) || text === '.' || text === '..')
    return bad(
      'BadInterface',
      `${said}, which no interface can be called`,
      'write the name of one interface, such as eth1',
    )
  return { place: { interface: text } }
}

function bad(reason: string, message: string, remedy: string): AskedPlace {
  return { fault: { reason, message: `${message}; there is no session`, remedy } }
}
