// BGPFilter: the same rules for both directions and both families, but for the length of prefixes.
import {
  between,
  cel,
  cidrOf,
  type KindShape,
  list,
  matching,
  meaning,
  object,
  once,
  oneOf,
  type Shape,
  text,
} from './shape.ts'

/** A standard community, or a large one. */
const community = matching(
  '^(([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]):([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])|([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]):([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]):([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5]))$',
  { maxLength: 32 },
)
/** Calico's own CRD takes those below 2^31 alone. */
const asNumber = between(0, 4294967295, { format: 'int64' })
const priority = between(1, 2147483646)

const operation = once(() =>
  object(
    {
      addCommunity: object({ 'value!': community }),
      prependASPath: object({ 'prefix!': list(asNumber, { maxItems: 10, minItems: 1 }) }),
      setPriority: object({ 'value!': priority }),
    },
    [],
    { minProperties: 1, maxProperties: 1 },
  ),
)

function rulesOf(maxLength: number, cidrLength: number): Shape {
  const bits = between(0, maxLength, { format: 'int32' })
  return list(
    object(
      {
        'action!': oneOf('Accept', 'Reject'),
        asPathPrefix: list(asNumber),
        cidr: meaning(maxLength === 32 ? 'networkV4' : 'networkV6', cidrOf(cidrLength)),
        communities: object({ 'values!': list(community, { maxItems: 1, minItems: 1 }) }),
        interface: meaning('interfacePattern', text(15)),
        matchOperator: oneOf('Equal', 'NotEqual', 'In', 'NotIn'),
        operations: list(operation(), { maxItems: 10, minItems: 1 }),
        peerType: oneOf('eBGP', 'iBGP'),
        prefixLength: object({ max: bits, min: bits }),
        priority,
        source: oneOf('RemotePeers'),
      },
      [
        cel(
          '(has(self.cidr) && size(self.cidr) > 0) == (has(self.matchOperator) && size(self.matchOperator) > 0)',
          'cidr and matchOperator must both be set or both be empty',
        ),
        cel(
          '!has(self.prefixLength) || (has(self.cidr) && size(self.cidr) > 0)',
          'cidr is required when prefixLength is set',
        ),
        cel(
          "!has(self.operations) || size(self.operations) == 0 || self.action == 'Accept'",
          'operations may only be used with action Accept',
        ),
      ],
    ),
  )
}

export const bgpFilter = once((): KindShape => {
  const [v4, v6] = [rulesOf(32, 18), rulesOf(128, 43)]
  return { spec: object({ exportV4: v4, exportV6: v6, importV4: v4, importV6: v6 }) }
})
