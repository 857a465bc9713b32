// The export groups of one address family, and which peer is a member of which. A group begins with its first member and
// ends with its last one. A monitor of what peers are offered has groups of its own (offered.ts) that work beside these.
import type { AddressFamily } from '../../family.ts'
import type { SpeakerNumbers } from '../speaker-numbers.ts'
import type { AttributeFacts } from '../store/attribute-facts.ts'
import { groupOwner } from '../store/set-owner.ts'
import type { ExportSource, RibEvent, RibPeer } from '../types.ts'
import type { ExportTarget } from './advertisement.ts'
import { ExportGroup } from './export-group.ts'
import { Exporter } from './exporter.ts'
import type { GroupTable } from './group-table.ts'
import type { Member } from './member.ts'
import { UpdatePacker } from './update-packer.ts'

export type ExportGroupsDeps = {
  facts: AttributeFacts
  speaker: SpeakerNumbers
  /** Octets of messages that a group keeps for slow members. */
  backlogOctets: number
  /** A number that no other group of any family has. */
  nextNumber(): number
  /** What is known of the peer with this index as a source of routes. */
  sourceOf(peer: number): ExportSource
  report(event: RibEvent): void
  /** A peer that had nothing to read has something now. */
  wake(peer: number): void
  /** What decides to which group a peer belongs. */
  target(peer: RibPeer, family: AddressFamily): ExportTarget
}

/** Groups that a monitor reads, of the peers that are members of the groups here. */
type MonitorGroups = {
  readonly all: readonly ExportGroup[]
  join(index: number, peer: RibPeer): void
  move(index: number, peer: RibPeer): void
  leave(index: number): void
  /** Prefixes were decided. */
  decided(): void
  /** What waits, as `waiting` says it, is too much: its reader is to go. */
  overflow(waiting: string): void
}

type Membership = { readonly group: ExportGroup; readonly member: Member }

export class ExportGroups {
  readonly #table: GroupTable
  readonly #deps: ExportGroupsDeps
  readonly #byKey = new Map<string, ExportGroup>()
  #all: readonly ExportGroup[] = []
  /** By peer index. */
  readonly #memberships = new Map<number, Membership>()
  readonly #monitors = new Set<MonitorGroups>()

  /** Of which these are a monitor's. */
  readonly #parent: ExportGroups | undefined

  constructor(table: GroupTable, deps: ExportGroupsDeps, parent?: ExportGroups) {
    this.#table = table
    this.#deps = deps
    this.#parent = parent
  }

  /** Groups of the same table by other rules, for a monitor that is then added here. */
  forMonitor(rules: Pick<ExportGroupsDeps, 'target' | 'wake' | 'report'>): ExportGroups {
    return new ExportGroups(this.#table, { ...this.#deps, ...rules }, this)
  }

  /** Those of monitors included: whatever concerns one group concerns them too. */
  get all(): readonly ExportGroup[] {
    return this.#all
  }

  membership(index: number): Membership | undefined {
    return this.#memberships.get(index)
  }

  /** Makes a peer a member of the group that it belongs to. */
  join(index: number, peer: RibPeer): void {
    this.#memberships.set(index, this.#newMembership(index, peer))
    for (const monitor of this.#monitors) monitor.join(index, peer)
  }

  /** Moves a member whose configuration changed to its new group, which sends it only what is different there. */
  move(index: number, peer: RibPeer): void {
    for (const monitor of this.#monitors) monitor.move(index, peer)
    const old = this.#memberships.get(index)
    if (old !== undefined && old.group.key !== keyOf(this.#deps.target(peer, this.#table.family))) {
      const next = this.#newMembership(index, peer)
      this.#memberships.set(index, next)
      next.group.inherit(next.member, old.group, old.member)
      this.#leaveGroup(old)
    }
  }

  leave(index: number): void {
    for (const monitor of this.#monitors) monitor.leave(index)
    const membership = this.#memberships.get(index)
    this.#memberships.delete(index)
    if (membership !== undefined) this.#leaveGroup(membership)
  }

  addMonitor(monitor: MonitorGroups): void {
    this.#monitors.add(monitor)
    this.#listAll()
  }

  removeMonitor(monitor: MonitorGroups): void {
    this.#monitors.delete(monitor)
    this.#listAll()
  }

  /** Prefixes were decided. */
  decided(): void {
    for (const monitor of this.#monitors) monitor.decided()
  }

  /** See `MonitorGroups`. */
  overflow(waiting: string): void {
    for (const monitor of this.#monitors) monitor.overflow(waiting)
  }

  /** Called when a stored set is about to be freed. */
  forget(set: number): void {
    for (const group of this.#all) group.exporter.forget(set)
  }

  #newMembership(index: number, peer: RibPeer): Membership {
    const target = this.#deps.target(peer, this.#table.family)
    const key = keyOf(target)
    let group = this.#byKey.get(key)
    if (group === undefined) {
      group = this.#newGroup(key, target, peer.key)
      this.#byKey.set(key, group)
      this.#listAll()
    }
    return { group, member: group.join(index, peer.remoteAddress) }
  }

  #newGroup(key: string, target: ExportTarget, peerKey: string): ExportGroup {
    const { facts, speaker, backlogOctets, nextNumber, sourceOf, report, wake } = this.#deps
    const { family, store, prefixes } = this.#table
    const { addPath, session } = target
    const packer = new UpdatePacker(prefixes, { family, addPath, extended: session.extendedMessage })
    const exporter = new Exporter(target, groupOwner(nextNumber()), {
      store,
      facts,
      prefixes,
      speaker,
      sourceOf: set => sourceOf(this.#table.peerOf(set)),
      room: packer.room,
      tooLong: prefix => report({ type: 'too-long', key: peerKey, prefix: prefixes.text(prefix) }),
    })
    return new ExportGroup(key, exporter, this.#table, packer, { backlogOctets, wake })
  }

  #leaveGroup({ group, member }: Membership): void {
    group.leave(member)
    if (group.members.size > 0) return
    this.#byKey.delete(group.key)
    // before its sets are released: it must not be asked whether it still needs what it forgets
    this.#listAll()
    group.close()
  }

  #listAll(): void {
    this.#all = [...this.#byKey.values(), ...[...this.#monitors].flatMap(({ all }) => all)]
    if (this.#parent !== undefined) this.#parent.#listAll()
  }
}

/** Peers with equal targets share a group. */
function keyOf(target: ExportTarget): string {
  return JSON.stringify(target)
}
