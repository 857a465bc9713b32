// What nft keeps beside an object for itself: type u8 | length u8 | value, one after the other. A comment is a
// zero-terminated text; sets also hold the byte order of their types, without which nft prints numbers backwards. The
// types of joined keys, as nft 1.0.6 adds them (typeof), are not written: their numbers differ between nft's versions, and
// some of those crash on others'.
// Whatever is not exactly what we would write is kept as octets, so that nothing of another program gets lost.
import { toHex } from '../../../lib/bytes.ts'
import type { KeyType } from './keys.ts'
import { UDATA } from './numbers.ts'

type Notes = { comment?: string; userdata?: string }
type Entry = { type: number; value: Uint8Array }

const ORDER: Readonly<Record<'none' | 'host' | 'big', number>> = { none: 0, host: 1, big: 2 }

function emitEntries(entries: readonly Entry[]): string | undefined {
  if (entries.length === 0) return undefined
  const octets = entries.map(({ type, value }) => {
    if (value.length > 255) throw new Error(`userdata of ${value.length} octets: an entry holds 255`)
    return toHex(Uint8Array.of(type, value.length)) + toHex(value)
  })
  return octets.join('')
}

function commentEntry(type: number, comment: string | undefined): Entry[] {
  return comment === undefined ? [] : [{ type, value: Buffer.from(`${comment}\0`) }]
}

/** Userdata as octets for tables, chains and rules. Throws when the comment is longer than 254 octets. */
export function emitNotes({ comment, userdata }: Notes): string | undefined {
  return userdata ?? emitEntries(commentEntry(UDATA.comment, comment))
}

/** The comment that the octets are, or the octets. */
export function parseNotes(octets: string | undefined): Notes {
  return notesOf(octets, UDATA.comment, comment => emitNotes({ comment }))
}

const INTERVAL_OPEN = Uint8Array.of(1, 0, 0, 0)

/** Userdata as octets for an element; `open` is a range up to the last value of its type. */
export function emitElementNotes({ comment, userdata }: Notes, { open }: { open: boolean }): string | undefined {
  const flags = open ? [{ type: UDATA.elementFlags, value: INTERVAL_OPEN }] : []
  return userdata ?? emitEntries([...commentEntry(UDATA.comment, comment), ...flags])
}

export function parseElementNotes(octets: string | undefined, options: { open: boolean }): Notes {
  return notesOf(octets, UDATA.comment, comment => emitElementNotes({ comment }, options))
}

/** `data` is undefined for verdicts. */
type SetTypes = { key: KeyType; data?: KeyType; isMap: boolean }

/** Userdata as octets for sets. */
export function emitSetNotes({ comment, userdata }: Notes, types: SetTypes): string | undefined {
  return userdata ?? emitEntries([...orders(types), ...commentEntry(UDATA.setComment, comment)])
}

/** The comment of a set whose userdata is what we would write with it, or the octets. */
export function parseSetNotes(octets: string | undefined, types: SetTypes): Notes {
  return notesOf(octets, UDATA.setComment, comment => emitSetNotes({ comment }, types))
}

function notesOf(octets: string | undefined, type: number, emit: (comment?: string) => string | undefined): Notes {
  if (octets === emit()) return {}
  if (octets === undefined) return { userdata: '' }
  const comment = commentIn(Buffer.from(octets, 'hex'), type)
  return comment !== undefined && emit(comment) === octets ? { comment } : { userdata: octets }
}

function commentIn(octets: Buffer, type: number): string | undefined {
  for (let at = 0; at + 2 <= octets.length; at += 2 + octets[at + 1]!)
    if (octets[at] === type) return octets.toString('utf8', at + 2, at + 1 + octets[at + 1]!)
  return undefined
}

function orders({ key, data, isMap }: SetTypes): Entry[] {
  const entries: Entry[] = [{ type: UDATA.setKeyByteOrder, value: orderOctets(key) }]
  if (isMap) {
    entries.push({ type: UDATA.setDataByteOrder, value: orderOctets(data) })
    entries.push({ type: UDATA.setDataInterval, value: Uint8Array.of(0, 0, 0, 0) })
  }
  return entries
}

function orderOctets(type: KeyType | undefined): Uint8Array {
  const order = ORDER[type?.parts.length === 1 ? type.parts[0]!.order : 'none']
  return Uint8Array.of(order, 0, 0, 0)
}
