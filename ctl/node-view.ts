// A node's answers as text: its status, its peers, its events. Pure.
import type { PeerAnswer, Status } from '../api/answers.ts'
import { formatRef } from '../api/status.ts'
import { renderTable } from './render.ts'

/** Readiness in one line, the peers, every condition that is not fine, then what the pod filter dropped. Pure. */
export function renderStatus(
  { node, address, uplink, ready, conditions, peers, dropped = [] }: Status,
  format: 'table' | 'wide',
) {
  const where = address === undefined ? '' : `: ${address}${uplink === undefined ? '' : ` on ${uplink}`}`
  const wrong = conditions.filter(({ status }) => status !== 'True')
  return [
    `${node === undefined ? 'margay-bgp' : `node ${node}`} is ${ready ? 'ready' : 'not ready'}${where}\n`,
    renderPeers(peers, format),
    ...(wrong.length === 0
      ? []
      : [
          renderTable(
            ['CONDITION', 'OBJECT', 'REASON', 'MESSAGE', 'REMEDY', 'SEE'],
            wrong.map(({ type, object, reason, message, remedy, page = '' }) => [
              type,
              object === undefined ? '' : formatRef(object),
              reason,
              message,
              remedy,
              page,
            ]),
          ),
        ]),
    ...renderDropped(dropped.filter(({ packets }) => packets > 0)),
  ].join('\n')
}

function renderDropped(dropped: NonNullable<Status['dropped']>): string[] {
  if (dropped.length === 0) return []
  return [
    renderTable(
      ['DROPPED PACKETS', 'COUNT'],
      dropped.map(({ reason, packets }) => [reason, String(packets)]),
    ),
  ]
}

/** The peers in the words of `calicoctl node status`, with the reason of those that are not up and what helps. Pure. */
export function renderPeers(peers: readonly PeerAnswer[], format: 'table' | 'wide'): string {
  if (peers.length === 0) return 'No BGP peers.\n'
  const wide = format === 'wide'
  const watched = peers.some(({ bfd }) => bfd !== undefined)
  const remedied = peers.some(({ remedy }) => remedy !== '')
  const more = ['NAME', 'AS', 'RECEIVED', 'ACCEPTED', 'ANNOUNCED', 'FLAPS']
  return renderTable(
    [
      ...['PEER ADDRESS', 'PEER TYPE', 'STATE', 'SINCE', ...(watched ? ['BFD'] : []), ...(wide ? more : []), 'REASON'],
      ...(remedied ? ['REMEDY'] : []),
    ],
    peers
      .toSorted(byAddress)
      .map(({ name, address, type, asn, state, since, reason, detail, remedy, flaps, prefixes, bfd }) => [
        address,
        type,
        state,
        since.replace(/\.\d+Z$/, 'Z'),
        ...(watched ? [bfd?.state ?? ''] : []),
        ...(wide
          ? [name, asn ?? '?', prefixes.received, prefixes.accepted, prefixes.announced, flaps].map(String)
          : []),
        detail === '' ? reason : `${reason}: ${detail}`,
        ...(remedied ? [remedy] : []),
      ]),
  )
}

function byAddress(a: PeerAnswer, b: PeerAnswer): number {
  return a.address.localeCompare(b.address, 'en', { numeric: true })
}
