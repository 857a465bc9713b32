// What came of a drain (RFC 8326): which peers know that they are to take other paths, and what has no other path. Hazard: a
// peer that does not answer must not hold up whoever asks.
import type { DrainAnswer } from '../api/answers.ts'
import { NODE_ANNOTATION } from '../api/core.ts'
import { broken, type Condition } from '../api/status.ts'
import type { Heard } from '../bgp/hearing.ts'
import type { Speaker } from '../bgp/speaker.ts'
import type { Clock } from '../lib/clock.ts'

type Told = DrainAnswer['peers'][number]['told']

/** A peer that has not said by then that it has worked through all is slow. */
const PATIENCE_MS = 8_000

/** What each peer with a session says of all that was announced so far, by its key; after eight seconds at the latest. */
export async function whoHeard(speaker: Speaker, clock: Clock): Promise<Map<string, Told>> {
  const told = new Map<string, Told>()
  const late = Promise.withResolvers<void>()
  const cancel = clock.after(PATIENCE_MS, late.resolve)
  const all = speaker
    .peers()
    .filter(({ state }) => state === 'Established')
    .map(async ({ name, families }) => {
      const heard = await Promise.all(families.map(family => speaker.heard(name, family)))
      told.set(name, least(heard))
    })
  await Promise.race([Promise.all(all), late.promise])
  cancel()
  return told
}

function least(heard: readonly Heard[]): Told {
  if (heard.includes('gone')) return 'no'
  return heard.includes('cannot') ? 'sent' : 'yes'
}

/** Whether no peer announces a prefix of this node too. */
export function isAlone(speaker: Pick<Speaker, 'explain'>, prefix: string): boolean {
  return speaker.explain(prefix)?.candidates.some(({ peer, import: { accepted } }) => peer !== '' && accepted) !== true
}

/** Of a node that people drain. */
export function draining(node: string): Condition {
  return broken('RoutesPreferred', {
    reason: 'Draining',
    message: `the Node has the annotation ${NODE_ANNOTATION.drainBgp}, so all BGP peers of this node are asked to take other paths than those by it`,
    remedy: `after the maintenance: margayctl node drain-bgp ${node} --undo`,
    object: { kind: 'Node', name: node },
  })
}
