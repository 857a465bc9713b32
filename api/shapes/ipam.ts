// Who has which address: what Calico's IPAM keeps at the API server, and its settings.
import {
  between,
  bool,
  byDefault,
  cidr,
  instant,
  int64,
  type KindShape,
  list,
  mapOf,
  matching,
  nullableWhole,
  object,
  once,
  oneOf,
  text,
  whole,
} from './shape.ts'

export const ipamConfiguration = once(
  (): KindShape => ({
    spec: object({
      'autoAllocateBlocks!': byDefault(bool, true),
      ipCooldownSeconds: between(0, 1200, { format: 'int32' }),
      kubeVirtVMAddressPersistence: oneOf('Enabled', 'Disabled'),
      maxBlocksPerHost: byDefault(between(0, 1000000, { format: 'int32' }), 0),
      'strictAffinity!': byDefault(bool, false),
    }),
  }),
)

export const ipamBlock = once(
  (): KindShape => ({
    spec: object({
      affinity: matching(String.raw`^(host|virtual):[a-zA-Z0-9\.\-_]+$`),
      affinityClaimTime: instant,
      'allocations!': list(nullableWhole),
      'attributes!': list(
        object({
          alternateOwnerAttrs: mapOf(text()),
          handle_id: text(),
          releasedAt: instant,
          secondary: mapOf(text()),
        }),
      ),
      'cidr!': cidr,
      deleted: bool,
      sequenceNumber: byDefault(int64, 0),
      sequenceNumberForAllocation: mapOf(int64),
      /** Nobody reads it any more. Calico's own CRD asks for it all the same. */
      strictAffinity: bool,
      'unallocated!': list(whole),
    }),
  }),
)

export const blockAffinity = once(
  (): KindShape => ({
    spec: object({
      'cidr!': cidr,
      'deleted!': byDefault(bool, false),
      'node!': text(),
      'state!': oneOf('', 'confirmed', 'pending', 'pendingDeletion'),
      type: text(),
    }),
  }),
)

export const ipamHandle = once(
  (): KindShape => ({
    spec: object({
      'block!': mapOf(whole),
      deleted: bool,
      'handleID!': text(),
    }),
  }),
)
