// The codecs as a package (`margay/bgp/wire`) for users of the library. Files of this project import the codecs directly.
export { BytesError, Reader, Writer } from '../lib/bytes.ts'
export type { Family } from '../lib/ip.ts'
export type { AsPath, Segment } from './wire/as-path.ts'
export type { Aggregator, Attributes, RawAttribute } from './wire/attribute-values.ts'
export { emitAttributes, type ParsedAttributes, parseAttributes } from './wire/attributes.ts'
export {
  type BmpMessage,
  type BmpPeer,
  type BmpStat,
  type BmpTlv,
  type BmpUnread,
  bmpSplitter,
  emitBmp,
  parseBmp,
} from './wire/bmp.ts'
export {
  type AfiSafi,
  type Capability,
  type CapabilityOf,
  type CapabilityRow,
  type CapabilityType,
  capabilities,
  emitCapability,
  parseCapabilities,
} from './wire/capabilities.ts'
export type { CodecSession, PeerType } from './wire/codec-session.ts'
export type { Community, LargeCommunity } from './wire/communities.ts'
export { type Cost, ProtocolError, type UpdateFault } from './wire/errors.ts'
export { AFI, ATTRIBUTE, CAPABILITY, CEASE, ERROR, MESSAGE, SAFI } from './wire/iana.ts'
export { emitKeepalive, emitMessage, HEADER, MessageSplitter, type MessageVisitor } from './wire/message.ts'
export {
  emitMrt,
  type MrtBody,
  type MrtPeer,
  type MrtRecord,
  type MrtRibEntry,
  type MrtSession,
  MrtUnwritable,
  mrtSplitter,
  parseMrt,
} from './wire/mrt.ts'
export type { MpReach, MpUnreach } from './wire/multiprotocol.ts'
export { emitNlri, type Nlri, parseNlri } from './wire/nlri.ts'
export { cease, emitNotification, type Notification, notificationText, parseNotification } from './wire/notification.ts'
export { emitOpen, type Open, parseOpen } from './wire/open.ts'
export { emitRouteRefresh, parseRouteRefresh, type RouteRefresh } from './wire/route-refresh.ts'
export type { RecordVisitor, StreamSplitter } from './wire/splitter.ts'
export {
  emitEndOfRib,
  emitUpdate,
  type FamilyNlri,
  type ParsedUpdate,
  parseUpdate,
  type Update,
} from './wire/update.ts'
