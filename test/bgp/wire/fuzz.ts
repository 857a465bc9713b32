// One fuzzer per decoder. Inputs are random octets, values from the tables' generators written out, and goldens with
// octets changed, cut, doubled or lengths bent. What must hold: no exception; what is accepted means the same after it
// was written and read again.
import { deepStrictEqual } from 'node:assert'
import fc from 'fast-check'
import { isConfed, needsFourOctets, parseAsPath } from '../../../bgp/wire/as-path.ts'
import { parseAttributes } from '../../../bgp/wire/attributes.ts'
import { bmpSplitter, emitBmp, parseBmp } from '../../../bgp/wire/bmp.ts'
import type { CodecSession } from '../../../bgp/wire/codec-session.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { MessageSplitter } from '../../../bgp/wire/message.ts'
import { emitMrt, mrtSplitter, parseMrt } from '../../../bgp/wire/mrt.ts'
import { checkNlri, eachIpv4Prefix, eachIpv6Prefix, parseNlri } from '../../../bgp/wire/nlri.ts'
import { emitNotification, notificationText, parseNotification } from '../../../bgp/wire/notification.ts'
import { emitOpen, parseOpen } from '../../../bgp/wire/open.ts'
import { emitRouteRefresh, parseRouteRefresh } from '../../../bgp/wire/route-refresh.ts'
import {
  emitUpdate,
  endOfRib,
  MpOffsets,
  parseUpdate,
  scanAttributes,
  splitUpdate,
  UpdateOffsets,
} from '../../../bgp/wire/update.ts'
import { toHex } from '../../../lib/bytes.ts'
import * as arbitrary from './arbitraries.ts'
import { notifications, opens, routeRefreshes, updates } from './goldens.ts'
import { bmpMessage, mrtRecord } from './record-arbitraries.ts'
import { aSession, emitted, parseWith, plain } from './wire.ts'

export type Fuzzer = {
  name: string
  seeds: readonly Uint8Array[]
  structured: fc.Arbitrary<Uint8Array>
  /** Throws when the decoder does not hold its promise for these octets. */
  check(bytes: Uint8Array): void
}

const HEADER = 19
const bodies = (goldens: readonly { bytes: Uint8Array }[]) => goldens.map(g => g.bytes.slice(HEADER))
const body = (bytes: Uint8Array) => bytes.slice(HEADER)

const sessions: readonly CodecSession[] = [
  aSession(),
  aSession({ as4: false }),
  aSession({ peerType: 'ibgp', extendedNextHop: true }),
  aSession({ peerType: 'ibgp', as4: false }),
  aSession({ peerType: 'confed', addPath: { ipv4: true, ipv6: true } }),
]

const open: Fuzzer = {
  name: 'OPEN',
  seeds: bodies(opens),
  structured: arbitrary.open.map(value => body(emitted(w => emitOpen(w, value)))),
  check(bytes) {
    const value = parseOpen(bytes, 0, bytes.length)
    if (value instanceof ProtocolError) return
    deepStrictEqual(
      plain(
        parseWith(
          parseOpen,
          emitted(w => emitOpen(w, value)),
        ),
      ),
      plain(value),
    )
  },
}

const notification: Fuzzer = {
  name: 'NOTIFICATION',
  seeds: bodies(notifications),
  structured: arbitrary.notification.map(value => body(emitted(w => emitNotification(w, value)))),
  check(bytes) {
    const value = parseNotification(bytes, 0, bytes.length)
    notificationText(value)
    deepStrictEqual(
      plain(
        parseWith(
          parseNotification,
          emitted(w => emitNotification(w, value)),
        ),
      ),
      plain(value),
    )
  },
}

const refresh: Fuzzer = {
  name: 'ROUTE-REFRESH',
  seeds: bodies(routeRefreshes),
  structured: arbitrary.routeRefresh.map(value => body(emitted(w => emitRouteRefresh(w, value)))),
  check(bytes) {
    const value = parseRouteRefresh(bytes, 0, bytes.length)
    if (value instanceof ProtocolError) return
    deepStrictEqual(
      plain(
        parseWith(
          parseRouteRefresh,
          emitted(w => emitRouteRefresh(w, value)),
        ),
      ),
      plain(value),
    )
  },
}

const update: Fuzzer = {
  name: 'UPDATE',
  seeds: bodies(updates),
  structured: arbitrary.session
    .chain(s => arbitrary.update(s).map(value => emitted(w => emitUpdate(w, value, s))))
    .map(body),
  check(bytes) {
    for (const session of sessions) checkUpdate(bytes, session)
  },
}

function checkUpdate(bytes: Uint8Array, session: CodecSession): void {
  const at = new UpdateOffsets()
  const error = splitUpdate(bytes, 0, bytes.length, at)
  const value = parseUpdate(bytes, 0, bytes.length, session)
  if (error !== undefined) {
    deepStrictEqual(plain(value), plain(error))
    return
  }
  endOfRib(bytes, at)
  const parsed = parseAttributes(bytes, at.attributesStart, at.attributesEnd, session)
  const mp = new MpOffsets()
  // the cheap scan finds what the whole parse finds
  if (scanAttributes(bytes, at.attributesStart, at.attributesEnd, mp) && parsed.mpReach !== undefined)
    deepStrictEqual(mp.reachEnd, parsed.mpReach.nlriEnd)
  if (value instanceof ProtocolError || value.faults.length > 0) return
  const path = value.attributes.asPath ?? []
  // an old speaker cannot be told a confederation segment in the middle of a path that needs AS4_PATH
  if (!session.as4 && path.some(isConfed) && needsFourOctets(path)) return
  const again = emitted(w => emitUpdate(w, value, session))
  deepStrictEqual(plain(parseWith((b, start, end) => parseUpdate(b, start, end, session), again)), plain(value))
}

const attributes: Fuzzer = {
  name: 'attributes',
  seeds: updates.map(({ bytes }) => bytes.slice(HEADER + 4)),
  structured: arbitrary.session
    .chain(s => arbitrary.update(s).map(value => emitted(w => emitUpdate(w, { ...value, withdrawn: [], nlri: [] }, s))))
    .map(bytes => bytes.slice(HEADER + 4)),
  check(bytes) {
    for (const session of sessions) {
      const { faults, cost } = parseAttributes(bytes, 0, bytes.length, session)
      deepStrictEqual(cost === undefined, faults.length === 0)
      for (const fault of faults) deepStrictEqual(fault.error !== undefined, fault.cost === 'reset', fault.reason)
    }
  },
}

const nlri: Fuzzer = {
  name: 'NLRI',
  seeds: updates.map(({ bytes }) => bytes.slice(-12)),
  structured: fc
    .boolean()
    .chain(addPath =>
      fc.tuple(arbitrary.nlri('ipv4', addPath), fc.constant(aSession({ addPath: { ipv4: addPath, ipv6: false } }))),
    )
    .map(([list, s]) => body(emitted(w => emitUpdate(w, { withdrawn: [], attributes: {}, nlri: list }, s))).slice(4)),
  check(bytes) {
    for (const addPath of [false, true])
      for (const bits of [32, 128] as const) {
        const fault = checkNlri(bytes, 0, bytes.length, addPath, bits)
        let count = 0
        const walk = bits === 32 ? eachIpv4Prefix : eachIpv6Prefix
        deepStrictEqual(plain(walk(bytes, 0, bytes.length, addPath, () => count++)), plain(fault))
        const list = parseNlri(bytes, 0, bytes.length, addPath, bits)
        if (Array.isArray(list)) deepStrictEqual(list.length, count)
        else deepStrictEqual(plain(list), plain(fault))
      }
    for (const width of [2, 4] as const) parseAsPath(bytes, 0, bytes.length, width)
  },
}

const mrt: Fuzzer = {
  name: 'MRT',
  seeds: [],
  structured: mrtRecord.map(value => emitted(w => emitMrt(w, value))),
  check(bytes) {
    mrtSplitter().push(bytes, (b, start, end) => {
      const value = parseMrt(b, start, end)
      if (value.kind === 'unread') return
      if (value.kind === 'rib' && value.entries.some(entry => (entry.faults ?? []).length > 0)) return
      const again = emitted(w => emitMrt(w, value))
      deepStrictEqual(plain(parseMrt(again, 0, again.length)), plain(value))
    })
    parseMrt(bytes, 0, bytes.length)
  },
}

const bmp: Fuzzer = {
  name: 'BMP',
  seeds: [],
  structured: bmpMessage.map(value => emitted(w => emitBmp(w, value))),
  check(bytes) {
    bmpSplitter().push(bytes, (b, start, end) => {
      const value = parseBmp(b, start, end)
      if (value.kind === 'unread') return
      const again = emitted(w => emitBmp(w, value))
      deepStrictEqual(plain(parseBmp(again, 0, again.length)), plain(value))
    })
    parseBmp(bytes, 0, bytes.length)
  },
}

const wholeMessages = [...opens, ...notifications, ...routeRefreshes, ...updates].map(g => g.bytes)
const stream: Fuzzer = {
  name: 'message stream',
  seeds: [Buffer.concat(wholeMessages), ...wholeMessages],
  structured: fc
    .array(fc.constantFrom(...wholeMessages), { maxLength: 5 })
    .map(list => Uint8Array.from(Buffer.concat(list))),
  check(bytes) {
    const cut = (size: number) => {
      const found: string[] = []
      const splitter = new MessageSplitter()
      let error: ProtocolError | undefined
      for (let at = 0; at < bytes.length; at += size)
        error =
          splitter.push(bytes.slice(at, at + size), (type, b, start, end) =>
            found.push(`${type} ${toHex(b.subarray(start, end))}`),
          ) ?? error
      return { found, error: plain(error) }
    }
    // however the network cuts it, the stream is the same messages and the same error
    const whole = cut(Math.max(1, bytes.length))
    for (const size of [1, 7, 20]) deepStrictEqual(cut(size), whole)
  },
}

export const fuzzers: readonly Fuzzer[] = [open, notification, refresh, update, attributes, nlri, mrt, bmp, stream]

type Mutation = { kind: 'set' | 'flip' | 'cut' | 'insert' | 'double' | 'bump'; at: number; value: number }

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom('set', 'flip', 'cut', 'insert', 'double', 'bump'),
  at: fc.nat(5000),
  value: fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 14, 15, 17, 23, 35, 64, 127, 128, 192, 254, 255), arbitrary.u8),
})

function mutate(bytes: Uint8Array, { kind, at, value }: Mutation): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(value)
  const i = at % bytes.length
  const [head, rest] = [bytes.subarray(0, i), bytes.subarray(i)]
  switch (kind) {
    case 'set':
      return Uint8Array.of(...head, value, ...rest.subarray(1))
    case 'flip':
      return Uint8Array.of(...head, rest[0]! ^ (1 << (value % 8)), ...rest.subarray(1))
    case 'bump':
      return Uint8Array.of(...head, (rest[0]! + (value % 2 === 0 ? 1 : 255)) & 255, ...rest.subarray(1))
    case 'cut':
      return Uint8Array.of(...head, ...rest.subarray(1 + (value % 16)))
    case 'insert':
      return Uint8Array.of(...head, value, ...rest)
    case 'double':
      return Uint8Array.of(...head, ...rest.subarray(0, 1 + (value % 32)), ...rest)
  }
}

/** What a decoder is fed: a third octets, a third values, a third changed goldens and values. */
export function inputs({ seeds, structured }: Fuzzer): fc.Arbitrary<Uint8Array> {
  const base = seeds.length > 0 ? fc.oneof(fc.constantFrom(...seeds), structured) : structured
  const mutated = fc
    .tuple(base, fc.array(mutation, { minLength: 1, maxLength: 6 }))
    .map(([bytes, mutations]) => mutations.reduce(mutate, Uint8Array.from(bytes)))
  return fc.oneof(arbitrary.octets(200), structured, mutated)
}

/** The property of one fuzzer, for `fc.assert` and `fc.check`. */
export function property(fuzzer: Fuzzer): fc.IProperty<[Uint8Array]> {
  return fc.property(inputs(fuzzer), bytes => fuzzer.check(bytes))
}
