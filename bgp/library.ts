// The speaker as a package (`margay/bgp`) for users of the library: with every type that its signatures name. Files of this
// project import from where a thing is declared.

export type { Cancel, Clock } from '../lib/clock.ts'
export { AddressError, type Family } from '../lib/ip.ts'
export type { Log } from '../lib/log.ts'
export type { TcpAoAlgorithm, TcpAoKey } from '../lib/tcp-ao.ts'
export type { Authentication, AuthenticationKey } from './bfd/authentication.ts'
export type { BfdChange, BfdSessionConfig, RemoteStatus } from './bfd/config.ts'
export { BfdError } from './bfd/error.ts'
export type { AuthenticationType, BfdState, Diagnostic } from './bfd/packet.ts'
export type { Hops } from './bfd/port.ts'
export type { MonitoredSession, SessionWatcher } from './bmp/session-watcher.ts'
export type {
  BfdConfig,
  GracefulRestartConfig,
  Multipath,
  Network,
  PeerBfdStatus,
  PeerConfig,
  PeerStatus,
  PeerTimers,
  PrefixLimit,
  RangeStatus,
  Role,
  SpeakerConfig,
  TrackedPaths,
} from './config.ts'
export { DOWN_REASONS, type DownCode } from './down-reasons.ts'
export type { AddressFamily } from './family.ts'
export type { BgpState } from './fsm/step.ts'
export type { Heard } from './hearing.ts'
export type { ListenerCounts } from './listeners.ts'
export type { ClearKind } from './peer.ts'
export type { PolicyRule } from './policy.ts'
export type {
  BfdPort,
  BgpConnection,
  ConnectionHandlers,
  DialOptions,
  Discover,
  Listener,
  ListenOptions,
  LocalAddress,
  NextHopState,
  NextHops,
  RouteSink,
  SelectedPath,
  SelectedRoute,
  SocketOptions,
  Sockets,
  Transport,
} from './port.ts'
export type { StepName, UnusedReason } from './rib/decision.ts'
export type { DumpedPath } from './rib/dump.ts'
export type { ExplainedPath, Explanation } from './rib/explain.ts'
export type { Feed, Follower, Replayed } from './rib/feed.ts'
export type { RejectReason } from './rib/in/admission.ts'
export type { ImportVerdict } from './rib/in/importer.ts'
export type { LocRibFeed } from './rib/loc-rib.ts'
export type { OfferedFeed } from './rib/offered.ts'
export type { RibReader } from './rib/reader.ts'
export type { RouteAttributes } from './rib/store/attribute-set.ts'
export type { FamilyCounts, PeerCounts, RibEvent, RibPeer } from './rib/types.ts'
export type { RouteSource, RouteSourceConfig } from './route-source.ts'
export type { SessionEnd } from './session-end.ts'
export { Speaker, type SpeakerDeps } from './speaker.ts'
export { SpeakerError, type SpeakerErrorCode } from './speaker-error.ts'
export type { CodecSession, PeerType } from './wire/codec-session.ts'
export type { Community, LargeCommunity } from './wire/communities.ts'
export { ProtocolError } from './wire/errors.ts'
