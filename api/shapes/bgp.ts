// BGP: BGPConfiguration and BGPPeer.
import {
  anyCase,
  between,
  bool,
  byDefault,
  cel,
  cidr,
  int32,
  type KindShape,
  list,
  matching,
  meaning,
  numberOrText,
  object,
  once,
  oneOf,
  selector,
  set,
  text,
  whole,
} from './shape.ts'

/** As a number or as text, also as `high.low` (RFC 5396). Calico's own CRDs take numbers below 2^31 alone. */
const asNumber = numberOrText

/** Calico's own CRD takes no address alone; calicoctl does. */
const rangesOrAddresses = list(object({ cidr: meaning('range') }))
const ranges = list(object({ cidr }))

const secretKey = once(() =>
  object({
    secretKeyRef: object({
      'key!': text(),
      name: byDefault(text(), ''),
      optional: bool,
    }),
  }),
)

export const bgpConfiguration = once(
  (): KindShape => ({
    spec: object(
      {
        asNumber,
        bindMode: oneOf('None', 'NodeIP'),
        communities: list(
          object({
            name: text(253),
            value: matching(String.raw`^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$`, { maxLength: 40 }),
          }),
          { maxItems: 500 },
        ),
        ignoredInterfaces: set(meaning('ignoredInterface')),
        ipv4NormalRoutePriority: between(1, 2147483646),
        ipv6NormalRoutePriority: between(1, 2147483646),
        listenPort: between(1, 65535),
        localWorkloadPeeringIPV4: meaning('addressV4'),
        localWorkloadPeeringIPV6: meaning('addressV6'),
        logSeverityScreen: byDefault(anyCase('Trace', 'Debug', 'Info', 'Warning', 'Error', 'Fatal'), 'Info'),
        nodeMeshMaxRestartTime: text(),
        nodeMeshPassword: secretKey(),
        nodeToNodeMeshEnabled: bool,
        prefixAdvertisements: list(
          object({
            cidr,
            communities: list(text(), { maxItems: 50 }),
          }),
          { maxItems: 500 },
        ),
        programClusterRoutes: oneOf('Enabled', 'Disabled', 'EnabledIPIPOnly', 'EnabledNoEncapOnly'),
        serviceClusterIPs: ranges,
        serviceExternalIPs: rangesOrAddresses,
        serviceLoadBalancerAggregation: byDefault(oneOf('Enabled', 'Disabled'), 'Enabled'),
        serviceLoadBalancerIPs: ranges,
      },
      [
        cel(
          '!has(self.nodeMeshPassword) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true',
          'nodeMeshPassword cannot be set when nodeToNodeMeshEnabled is false',
          '.nodeMeshPassword',
        ),
        cel(
          '!has(self.nodeMeshMaxRestartTime) || !has(self.nodeToNodeMeshEnabled) || self.nodeToNodeMeshEnabled == true',
          'nodeMeshMaxRestartTime cannot be set when nodeToNodeMeshEnabled is false',
          '.nodeMeshMaxRestartTime',
        ),
        cel(
          '!has(self.communities) || size(self.communities) == 0 || (has(self.prefixAdvertisements) && size(self.prefixAdvertisements) > 0)',
          'communities are defined but not used in prefixAdvertisements',
          '.communities',
        ),
      ],
    ),
  }),
)

export const bgpPeer = once(
  (): KindShape => ({
    spec: object(
      {
        asNumber,
        filters: list(meaning('name')),
        keepOriginalNextHop: bool,
        keepaliveTime: text(),
        localASNumber: asNumber,
        localWorkloadSelector: selector,
        maxRestartTime: text(),
        nextHopMode: oneOf('Auto', 'Self', 'Keep'),
        node: meaning('name', text(253)),
        nodeSelector: selector,
        numAllowedLocalASNumbers: int32,
        password: secretKey(),
        peerIP: meaning('peerAddress', text(64)),
        peerSelector: selector,
        reachableBy: meaning('address', text(64)),
        reversePeering: oneOf('Auto', 'Manual'),
        sourceAddress: oneOf('UseNodeIP', 'None'),
        ttlSecurity: whole,
      },
      [
        cel(
          '(!has(self.node) || size(self.node) == 0) || (!has(self.nodeSelector) || size(self.nodeSelector) == 0)',
          'node and nodeSelector cannot both be set',
          '.nodeSelector',
        ),
        cel(
          '(!has(self.peerIP) || size(self.peerIP) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)',
          'peerIP and peerSelector cannot both be set',
          '.peerSelector',
        ),
        cel(
          '(!has(self.peerSelector) || size(self.peerSelector) == 0) || !has(self.asNumber) || self.asNumber == 0',
          'asNumber must be empty when peerSelector is set',
          '.asNumber',
        ),
        cel(
          '(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerIP) || size(self.peerIP) == 0)',
          'peerIP must be empty when localWorkloadSelector is set',
          '.peerIP',
        ),
        cel(
          '(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (!has(self.peerSelector) || size(self.peerSelector) == 0)',
          'peerSelector must be empty when localWorkloadSelector is set',
          '.peerSelector',
        ),
        cel(
          '(!has(self.localWorkloadSelector) || size(self.localWorkloadSelector) == 0) || (has(self.asNumber) && self.asNumber != 0)',
          'asNumber is required when localWorkloadSelector is set',
          '.asNumber',
        ),
        cel(
          '!has(self.reachableBy) || size(self.reachableBy) == 0 || (has(self.peerIP) && size(self.peerIP) > 0)',
          'reachableBy must be empty when peerIP is empty',
          '.reachableBy',
        ),
        cel(
          '!has(self.keepOriginalNextHop) || !self.keepOriginalNextHop || !has(self.nextHopMode)',
          'keepOriginalNextHop and nextHopMode cannot both be set; keepOriginalNextHop is deprecated, use nextHopMode instead',
          '.nextHopMode',
        ),
      ],
    ),
  }),
)
