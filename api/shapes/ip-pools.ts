// Where addresses come from: IPPool, IPReservation.
import { withConditions } from './conditions.ts'
import {
  between,
  bool,
  byDefault,
  cel,
  cidrOf,
  type KindShape,
  list,
  meaning,
  object,
  once,
  oneOf,
  selector,
} from './shape.ts'

export const ipPool = once(
  (): KindShape => ({
    spec: object(
      {
        /** No `set`: Kubernetes would refuse every write to a pool that has a use twice from before, its deletion too. */
        allowedUses: list(oneOf('Workload', 'Tunnel', 'LoadBalancer'), {
          maxItems: 10,
          'x-kubernetes-validations': [
            cel('self.all(use, self.exists_one(each, each == use))', 'must name each use once'),
          ],
        }),
        assignmentMode: byDefault(oneOf('Automatic', 'Manual'), 'Automatic'),
        blockSize: between(0, 128),
        'cidr!': cidrOf(48),
        disableBGPExport: bool,
        disabled: bool,
        ipipMode: oneOf('Never', 'Always', 'CrossSubnet'),
        namespaceSelector: selector,
        natOutgoing: bool,
        nodeSelector: byDefault(selector, 'all()'),
        vxlanMode: oneOf('Never', 'Always', 'CrossSubnet'),
      },
      [
        cel(
          "!has(self.ipipMode) || !has(self.vxlanMode) || self.ipipMode == 'Never' || self.vxlanMode == 'Never' || size(self.ipipMode) == 0 || size(self.vxlanMode) == 0",
          'ipipMode and vxlanMode cannot both be enabled',
          '.vxlanMode',
        ),
        cel(
          "!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || (!has(self.ipipMode) || size(self.ipipMode) == 0 || self.ipipMode == 'Never') && (!has(self.vxlanMode) || size(self.vxlanMode) == 0 || self.vxlanMode == 'Never')",
          'LoadBalancer IP pool cannot have IPIP or VXLAN enabled',
          '.allowedUses',
        ),
        cel(
          "!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || !self.allowedUses.exists(u, u == 'Workload' || u == 'Tunnel')",
          'LoadBalancer cannot be combined with Workload or Tunnel allowed uses',
          '.allowedUses',
        ),
        cel(
          "cidr(self.cidr).ip().family() != 6 || !has(self.ipipMode) || self.ipipMode == 'Never' || size(self.ipipMode) == 0",
          'IPIP is not supported on IPv6 pools',
          '.ipipMode',
        ),
        cel(
          "!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || !has(self.disableBGPExport) || !self.disableBGPExport",
          'LoadBalancer IP pools cannot disable BGP export',
          '.disableBGPExport',
        ),
        cel(
          "!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || self.nodeSelector == 'all()'",
          'IP Pool with AllowedUse LoadBalancer must have nodeSelector set to all()',
          '.nodeSelector',
        ),
        cel(
          "!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'Tunnel') || !has(self.namespaceSelector) || size(self.namespaceSelector) == 0",
          'IP Pool with AllowedUse Tunnel cannot have namespaceSelector',
          '.namespaceSelector',
        ),
        cel(
          "!has(self.nodeSelector) || !self.nodeSelector.contains('global(')",
          'global() selector is not valid for IPPool nodeSelector',
          '.nodeSelector',
        ),
        cel(
          "!has(self.namespaceSelector) || !self.namespaceSelector.contains('global(')",
          'global() selector is not valid for IPPool namespaceSelector',
          '.namespaceSelector',
        ),
        cel('cidr(self.cidr) == cidr(self.cidr).masked()', 'IPPool CIDR must be strictly masked', '.cidr'),
        cel(
          "!cidr('169.254.0.0/16').containsIP(cidr(self.cidr).ip()) && !cidr(self.cidr).containsIP('169.254.0.0')",
          'IPPool CIDR overlaps with IPv4 link local range 169.254.0.0/16',
          '.cidr',
        ),
        cel(
          "!cidr('fe80::/10').containsIP(cidr(self.cidr).ip()) && !cidr(self.cidr).containsIP('fe80::')",
          'IPPool CIDR overlaps with IPv6 link local range fe80::/10',
          '.cidr',
        ),
        cel(
          '!has(self.blockSize) || self.blockSize == 0 || (cidr(self.cidr).ip().family() == 4 ? self.blockSize >= 20 && self.blockSize <= 32 : self.blockSize >= 116 && self.blockSize <= 128)',
          'blockSize must be between 20 and 32 for IPv4 pools, and between 116 and 128 for IPv6 pools',
          '.blockSize',
        ),
        cel(
          '(has(self.disabled) && self.disabled) || cidr(self.cidr).prefixLength() <= (has(self.blockSize) && self.blockSize != 0 ? self.blockSize : (cidr(self.cidr).ip().family() == 4 ? 26 : 122))',
          'IP pool size is too small for use with Calico IPAM. It must be equal to or greater than the block size.',
          '.blockSize',
        ),
      ],
    ),
    status: withConditions(),
  }),
)

export const ipReservation = once(
  (): KindShape => ({
    spec: object({
      /** Calico's own CRD takes no address alone; calicoctl, and its documentation, do. */
      reservedCIDRs: list(meaning('network')),
    }),
  }),
)
