// The table with which a probe is followed through one node: rules that count and trace its packets, first of all where they come in and
// last of all where they leave, and nothing that decides about them. Pure.
// What is matched is octets that the probe's sender chose, so that a translated or tunnelled packet is known all the same. Every packet
// of the node is looked at, for as long as the table is there.

import type { NftChain, NftChange, NftExpression } from '../../kernel/port/nftables.ts'
import { IP_HEADER, PROBE_PROTOCOL, type Probe, type ProbeMark, probeMarks } from '../../kernel/probe-packets.ts'

/** Packets of the probe, their answers, and the packets of a tunnel around either. */
export const MATCHES = ['there', 'back', 'outerThere', 'outerBack'] as const
export type Match = (typeof MATCHES)[number]

/**
 * `wire`: as an interface received it; `in`: before all chains at prerouting; `made`: as this host itself sends it; `left`: behind all
 * chains at postrouting; `taken`: behind all at input, so that the host itself has it.
 */
export const PLACES = ['wire', 'in', 'made', 'left', 'taken'] as const
export type Place = (typeof PLACES)[number]

/** At the other end of the priorities than any other chain, where not another one is there too. */
const [FIRST, LAST] = [-0x8000_0000, 0x7fff_ffff]
const BASES: Readonly<Record<Place, Pick<NonNullable<NftChain['base']>, 'hook' | 'priority'>>> = {
  wire: { hook: 'ingress', priority: FIRST },
  in: { hook: 'prerouting', priority: FIRST },
  made: { hook: 'output', priority: FIRST },
  left: { hook: 'postrouting', priority: LAST },
  taken: { hook: 'input', priority: LAST },
}
/** Where tracing begins; a packet that is traced stays so. */
const BEGIN: readonly Place[] = ['wire', 'in', 'made']

/** NFT_TABLE_F_OWNER (Linux 5.12): nobody else may change the table, and it goes with the socket that made it. */
const OWNER = 2
/** The most packets of one match that are traced in a second, at each place. */
const PER_SECOND = 20

/** Octets in front of the inner header of IP, from the header behind the outer one on: UDP and VXLAN and Ethernet; nothing. */
const TUNNELS = [
  { protocol: PROBE_PROTOCOL.udp, inner: 8 + 8 + 14 },
  { protocol: 4, inner: 0 },
] as const
/** Where the header of IP says which one is behind it. */
const PROTOCOL_AT = { ipv4: 9, ipv6: 6 } as const

export type TraceTable = {
  name: string
  probe: Probe
  /** Interfaces at which packets are counted as they come; none where the kernel cannot. */
  devices: readonly string[]
  /** Whether the table goes with its socket; where the kernel cannot, it has to be deleted. */
  isOwned: boolean
}

/** The text by which a rule of the table is known. */
export function ruleName(match: Match, place: Place): string {
  return `${match} ${place}`
}

/** What brings the table, all or nothing. One of the same name is refused with EEXIST. */
export function tableChanges({ name, probe, devices, isOwned }: TraceTable): NftChange[] {
  const of = { family: 'inet', table: name } as const
  const places = PLACES.filter(place => place !== 'wire' || devices.length > 0)
  return [
    { verb: 'create', object: { kind: 'table', family: 'inet', name, ...(isOwned && { flags: OWNER }) } },
    ...places.map((place): NftChange => {
      const base = { type: 'filter', ...BASES[place], ...(place === 'wire' && { devices }) }
      return { verb: 'add', object: { kind: 'chain', ...of, name: place, base } }
    }),
    ...places.flatMap(place =>
      MATCHES.flatMap(match =>
        conditions(match, probe).map((asked): NftChange => {
          const expressions = [...asked, ...action(place)]
          return {
            verb: 'add',
            object: { kind: 'rule', ...of, chain: place, comment: ruleName(match, place), expressions },
          }
        }),
      ),
    ),
  ]
}

function action(place: Place): NftExpression[] {
  if (!BEGIN.includes(place)) return [{ type: 'counter' }]
  return [
    { type: 'counter' },
    { type: 'limit', unit: 'packets', rate: PER_SECOND, per: 'second', burst: PER_SECOND },
    { type: 'immediate', load: 1, data: { value: '01' } },
    { type: 'meta', key: 'nftrace', from: 1 },
  ]
}

/** For each rule what a packet must be. */
function conditions(match: Match, probe: Probe): NftExpression[][] {
  const marks = probeMarks(probe)
  const wanted = match === 'there' || match === 'outerThere' ? marks.there : marks.back
  const protocol = PROBE_PROTOCOL[probe.protocol]
  if (match === 'there' || match === 'back') return [[...isProtocol(protocol), ...wanted.flatMap(has)]]
  return TUNNELS.map(tunnel => {
    const inner: ProbeMark[] = [
      { offset: tunnel.inner + PROTOCOL_AT[probe.family], value: octet(protocol) },
      ...wanted.map(({ offset, value }) => ({ offset: tunnel.inner + IP_HEADER[probe.family] + offset, value })),
    ]
    return [...isProtocol(tunnel.protocol), ...inner.flatMap(has)]
  })
}

function isProtocol(protocol: number): NftExpression[] {
  return [
    { type: 'meta', key: 'l4proto', load: 1 },
    { type: 'cmp', op: 'eq', from: 1, value: octet(protocol) },
  ]
}

function has({ offset, value }: ProbeMark): NftExpression[] {
  return [
    { type: 'payload', base: 'transport', offset, length: value.length / 2, load: 1 },
    { type: 'cmp', op: 'eq', from: 1, value },
  ]
}

function octet(value: number): string {
  return value.toString(16).padStart(2, '0')
}
