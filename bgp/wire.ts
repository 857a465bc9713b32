// The codecs as a package of their own (`margay/bgp/wire`): the one place where outsiders find them, and not meant for
// imports inside the project.
export type { AsPath, Segment } from './wire/as-path.ts'
export {
  type Attributes,
  type CodecSession,
  emitAttributes,
  type ParsedAttributes,
  parseAttributes,
} from './wire/attributes.ts'
export { type Capability, capabilities, emitCapability, parseCapabilities } from './wire/capabilities.ts'
export { type Cost, type Fault, ProtocolError } from './wire/errors.ts'
export { AFI, ATTRIBUTE, CAPABILITY, CEASE, ERROR, MESSAGE, SAFI } from './wire/iana.ts'
export { emitKeepalive, emitMessage, HEADER, MessageSplitter, type MessageVisitor } from './wire/message.ts'
export { emitNlri, type Nlri, parseNlri } from './wire/nlri.ts'
export { cease, emitNotification, type Notification, notificationText, parseNotification } from './wire/notification.ts'
export { emitOpen, type Open, parseOpen } from './wire/open.ts'
export { emitRouteRefresh, parseRouteRefresh, type RouteRefresh } from './wire/route-refresh.ts'
export { emitEndOfRib, emitUpdate, type ParsedUpdate, parseUpdate, type Update } from './wire/update.ts'
