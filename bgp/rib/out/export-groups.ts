// The export groups of one address family, and which peer is a member of which. A group begins with its first member and
// ends with its last one.
import type { SpeakerNumbers } from '../speaker-numbers.ts'
import type { AttributeFacts } from '../store/attribute-facts.ts'
import { groupOwner } from '../store/set-owner.ts'
import type { ExportSource, RibEvent, RibPeer } from '../types.ts'
import { type ExportTarget, targetOf } from './advertisement.ts'
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
}

type Membership = { readonly group: ExportGroup; readonly member: Member }

export class ExportGroups {
  readonly #table: GroupTable
  readonly #deps: ExportGroupsDeps
  readonly #byKey = new Map<string, ExportGroup>()
  #all: readonly ExportGroup[] = []
  /** By peer index. */
  readonly #memberships = new Map<number, Membership>()

  constructor(table: GroupTable, deps: ExportGroupsDeps) {
    this.#table = table
    this.#deps = deps
  }

  get all(): readonly ExportGroup[] {
    return this.#all
  }

  membership(index: number): Membership | undefined {
    return this.#memberships.get(index)
  }

  /** Makes a peer a member of the group that it belongs to. */
  join(index: number, peer: RibPeer): void {
    this.#memberships.set(index, this.#newMembership(index, peer))
  }

  /** Moves a member whose configuration changed to its new group, which sends it only what is different there. */
  move(index: number, peer: RibPeer): void {
    const old = this.#memberships.get(index)
    if (old === undefined || old.group.key === keyOf(targetOf(peer, this.#table.family))) return
    const next = this.#newMembership(index, peer)
    this.#memberships.set(index, next)
    next.group.inherit(next.member, old.group, old.member)
    this.#leaveGroup(old)
  }

  leave(index: number): void {
    const membership = this.#memberships.get(index)
    this.#memberships.delete(index)
    if (membership !== undefined) this.#leaveGroup(membership)
  }

  /** Called when a stored set is about to be freed. */
  forget(set: number): void {
    for (const group of this.#all) group.exporter.forget(set)
  }

  #newMembership(index: number, peer: RibPeer): Membership {
    const target = targetOf(peer, this.#table.family)
    const key = keyOf(target)
    let group = this.#byKey.get(key)
    if (group === undefined) {
      group = this.#newGroup(key, target, peer.key)
      this.#byKey.set(key, group)
      this.#all = [...this.#byKey.values()]
    }
    return { group, member: group.join(index, peer.remoteAddress) }
  }

  #newGroup(key: string, target: ExportTarget, peerKey: string): ExportGroup {
    const { facts, speaker, backlogOctets, nextNumber, sourceOf, report } = this.#deps
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
    return new ExportGroup(key, exporter, this.#table, packer, backlogOctets)
  }

  #leaveGroup({ group, member }: Membership): void {
    group.leave(member)
    if (group.members.size > 0) return
    this.#byKey.delete(group.key)
    this.#all = [...this.#byKey.values()]
    group.close()
  }
}

/** Peers with equal targets share a group. */
function keyOf(target: ExportTarget): string {
  return JSON.stringify(target)
}
