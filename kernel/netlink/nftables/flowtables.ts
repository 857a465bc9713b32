// Flowtables on the wire: devices whose established connections pass the hooks by. Their hook is always ingress.
import type { NftFlowtable } from '../../port/nftables.ts'
import type { NlWriter } from '../message.ts'
import { bits, count, i32, listOf, optional, record, required, text, u32 } from './fields.ts'
import { FLOWTABLE_F, NFT_MSG } from './numbers.ts'
import { type ObjectRow, parseBody } from './objects.ts'

/** NF_NETDEV_INGRESS. */
const INGRESS = 0

type WireHook = { number?: number; priority?: number; devices?: readonly string[] }
type WireFlowtable = {
  table: string
  name: string
  hook?: WireHook
  flags?: readonly (keyof typeof FLOWTABLE_F)[]
  handle?: number
}

const wire = record<WireFlowtable>({
  table: required(1, text),
  name: required(2, text),
  hook: optional(
    3,
    record<WireHook>({
      number: optional(1, u32),
      priority: optional(2, i32),
      devices: optional(3, listOf(1, text)),
    }),
  ),
  flags: optional(7, bits(FLOWTABLE_F)),
  handle: optional(5, count),
})

/** A flowtable, or some of its devices. */
export function emitFlowtable(
  w: NlWriter,
  { table, name, priority, devices, flags }: Pick<NftFlowtable, 'table' | 'name' | 'priority' | 'devices' | 'flags'>,
): void {
  wire.emit(w, { table, name, hook: { number: INGRESS, priority, devices }, flags })
}

export const flowtables: ObjectRow<NftFlowtable> = {
  operation: { make: NFT_MSG.newFlowtable, read: NFT_MSG.getFlowtable, remove: NFT_MSG.delFlowtable },
  emit: emitFlowtable,
  parse: message =>
    parseBody(message, (family, attributes) => {
      const { hook: { priority = 0, devices = [] } = {}, ...rest } = wire.parse(attributes)!
      return { kind: 'flowtable', family, ...rest, priority, devices }
    }),
}
