// BFD as a package (`margay/bgp/bfd`) for users of the library: with every type that its signatures name. Files of this
// project import from where a thing is declared.

export type { Authentication, AuthenticationFault, AuthenticationKey } from './bfd/authentication.ts'
export type {
  BfdChange,
  BfdSessionConfig,
  BfdSessionStatus,
  BfdStatus,
  DropReason,
  RemoteStatus,
  Scheduling,
} from './bfd/config.ts'
export { BfdError } from './bfd/error.ts'
export { isPathFailure } from './bfd/failure.ts'
export type { AuthenticationType, BfdState, Diagnostic, PacketFault } from './bfd/packet.ts'
export { BfdThread } from './bfd/thread.ts'
