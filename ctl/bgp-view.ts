// Answers of a BGP speaker as text: the candidates for a prefix, what a reload does. Pure.
import type { BfdAnswer, Candidate, ReloadAnswer, RouteAnswer } from '../api/answers.ts'
import { renderTable } from './render.ts'

/** The best candidate first, marked `>`, then those that are used with it, marked `=`; then to whom it is not announced. Pure. */
export function renderRoute({ prefix, candidates, withheld }: RouteAnswer, format: 'table' | 'wide'): string {
  if (candidates.length === 0) return `${prefix}: nobody announces it\n`
  const wide = format === 'wide'
  const more = ['PATH ID', 'ORIGIN', 'COMMUNITIES']
  return [
    `${prefix}\n`,
    renderTable(
      ['', 'PEER', 'NEXT HOP', 'AS PATH', 'LOCAL PREF', 'MED', ...(wide ? more : []), 'DECISION'],
      candidates.map(candidate => {
        const { best, used, peer, pathId, attributes: a } = candidate
        const communities = [...(a.communities ?? []), ...(a.extendedCommunities ?? []), ...(a.largeCommunities ?? [])]
        return [
          best ? '>' : used ? '=' : '',
          peer === '' ? 'this speaker' : peer,
          a.nextHop ?? '',
          a.asPath ?? '',
          String(a.localPref ?? ''),
          String(a.med ?? ''),
          ...(wide ? [String(pathId), a.origin ?? '', communities.join(' ')] : []),
          decisionOf(candidate),
        ]
      }),
    ),
    ...withheld.map(({ peers, reason }) => `not announced to ${peers.join(', ')}: ${reason}\n`),
  ].join('')
}

function decisionOf({ best, used, weight, unused, step, reached, import: verdict, stale }: Candidate): string {
  const kept = stale === undefined ? '' : `, stale (${stale})`
  if (!verdict.accepted) return `not accepted: ${verdict.reason}, ${verdict.detail}${kept}`
  if (reached?.reachable === false) return `not used: its next hop cannot be reached, ${reached.why}${kept}`
  const share = weight === undefined ? '' : `, share ${weight}`
  if (best) return `${step === 'only' ? 'best: the only one' : `best by ${step}`}${share}${kept}`
  if (used) return `used too, lost by ${step}${share}${kept}`
  const equal = unused === undefined ? '' : `, ${UNUSED[unused] ?? unused}`
  return `${step === undefined ? 'not considered' : `lost by ${step}`}${equal}${kept}`
}

/** Why a path that is equal to the best one is not used with it. */
const UNUSED: Readonly<Record<string, string>> = {
  kind: 'of a kind that multipath leaves out',
  cost: 'with a next hop of another cost',
  'as-path': 'with another AS path',
  'next-hop': 'with a next hop that is used',
  limit: 'and multipath has all its paths',
}

/** The sessions with both ends' states, the times agreed on, and what was counted. Pure. */
export function renderBfd({ scheduling, sessions, dropped }: BfdAnswer, format: 'table' | 'wide'): string {
  if (sessions.length === 0) return 'No BFD sessions.\n'
  const wide = format === 'wide'
  const total = Object.entries(dropped).map(([reason, count]) => `${count} ${reason}`)
  return [
    renderTable(
      [
        'PATH',
        'STATE',
        'THERE',
        'SENDS EVERY',
        'LOST AFTER',
        'UPS',
        'LOSSES',
        ...(wide ? ['SENT', 'RECEIVED'] : []),
        'REASON',
      ],
      sessions.map(({ name, state, diagnostic, remote, transmitIntervalMs, detectionTimeMs, fault, ...counted }) => [
        name,
        state,
        remote.state,
        `${transmitIntervalMs} ms`,
        `${detectionTimeMs} ms`,
        ...[counted.ups, counted.losses].map(String),
        ...(wide ? [counted.sent, counted.received].map(String) : []),
        [
          fault ?? (diagnostic === 'none' ? '' : `last lost: ${diagnostic}`),
          ...Object.entries(counted.dropped).map(([reason, count]) => `${count} dropped: ${reason}`),
        ]
          .filter(text => text !== '')
          .join('; '),
      ]),
    ),
    ...(total.length === 0 ? [] : [`of no session: ${total.join(', ')}\n`]),
    ...(scheduling === 'usual' ? ['its thread has no priority: packets may be late on a busy machine\n'] : []),
  ].join('')
}

/** One line per thing that changes. Pure. */
export function renderReload({ resets, added, removed, changed, multipath, networks, drain }: ReloadAnswer): string {
  const lines = [
    ...(drain === undefined ? [] : [`the drain of this speaker ${drain}`]),
    ...resets.map(({ peer, because }) => `peer ${peer} is reset: ${because.join(', ')}`),
    ...added.map(peer => `peer ${peer} is new`),
    ...removed.map(peer => `peer ${peer} is removed`),
    ...changed
      .filter(name => !resets.some(({ peer }) => peer === name))
      .map(peer => `peer ${peer} changes and stays up`),
    ...(multipath === true ? ['the use of several paths changes, and no session is reset for it'] : []),
    ...networks.announced.map(prefix => `${prefix} is announced`),
    ...networks.withdrawn.map(prefix => `${prefix} is withdrawn`),
  ]
  return lines.length === 0 ? 'nothing changes\n' : lines.map(line => `${line}\n`).join('')
}
