// Answers of a BGP speaker as text: the candidates for a prefix, what a reload does. Pure.
import type { Candidate, ReloadAnswer, RouteAnswer } from '../api/answers.ts'
import { renderTable } from './render.ts'

/** The best candidate first and marked; then to whom it is not announced. Pure. */
export function renderRoute({ prefix, candidates, withheld }: RouteAnswer, format: 'table' | 'wide'): string {
  if (candidates.length === 0) return `${prefix}: nobody announces it\n`
  const wide = format === 'wide'
  const more = ['PATH ID', 'ORIGIN', 'COMMUNITIES']
  return [
    `${prefix}\n`,
    renderTable(
      ['', 'PEER', 'NEXT HOP', 'AS PATH', 'LOCAL PREF', 'MED', ...(wide ? more : []), 'DECISION'],
      candidates.map(candidate => {
        const { best, peer, pathId, attributes: a } = candidate
        const communities = [...(a.communities ?? []), ...(a.extendedCommunities ?? []), ...(a.largeCommunities ?? [])]
        return [
          best ? '>' : '',
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

function decisionOf({ best, step, import: verdict, stale }: Candidate): string {
  const kept = stale === undefined ? '' : `, stale (${stale})`
  if (!verdict.accepted) return `not accepted: ${verdict.reason}, ${verdict.detail}${kept}`
  if (best) return `${step === 'only' ? 'best: the only one' : `best by ${step}`}${kept}`
  return `${step === undefined ? 'not considered' : `lost by ${step}`}${kept}`
}

/** One line per thing that changes. Pure. */
export function renderReload({ resets, added, removed, changed, networks }: ReloadAnswer): string {
  const lines = [
    ...resets.map(({ peer, because }) => `peer ${peer} is reset: ${because.join(', ')}`),
    ...added.map(peer => `peer ${peer} is new`),
    ...removed.map(peer => `peer ${peer} is removed`),
    ...changed
      .filter(name => !resets.some(({ peer }) => peer === name))
      .map(peer => `peer ${peer} changes and stays up`),
    ...networks.announced.map(prefix => `${prefix} is announced`),
    ...networks.withdrawn.map(prefix => `${prefix} is withdrawn`),
  ]
  return lines.length === 0 ? 'nothing changes\n' : lines.map(line => `${line}\n`).join('')
}
