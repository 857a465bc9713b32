import test from 'ava'
import type { PeerConfig, SpeakerConfig } from '../../../bgp/config.ts'
import { type LocalSide, negotiate, ownOpen, relation } from '../../../bgp/fsm/negotiate.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import type { Open } from '../../../bgp/wire/open.ts'

const speaker: SpeakerConfig = { asn: 65001, routerId: '10.0.0.1' }
const side = (peer: Partial<PeerConfig> = {}, more: Partial<LocalSide> = {}): LocalSide => ({
  speaker,
  peer: { address: '192.0.2.2', asn: 65002, ...peer },
  families: peer.families ?? ['ipv4-unicast'],
  restarting: false,
  ...more,
})
/** The OPEN of a speaker of ours at the other end. */
const theirs = (peer: Partial<PeerConfig> = {}, asn = 65002, routerId = '10.0.0.2'): Open =>
  ownOpen(side({ asn: 65001, ...peer }, { speaker: { asn, routerId } }))
const refused = (local: LocalSide, open: Open): string => {
  const verdict = negotiate(local, open)
  return verdict instanceof ProtocolError ? `${verdict.code}/${verdict.subcode} ${verdict.message}` : 'accepted'
}
const agreed = (local: LocalSide, open: Open) => {
  const verdict = negotiate(local, open)
  if (verdict instanceof ProtocolError) throw verdict
  return verdict
}

test('a wrong AS is refused with both numbers', t => {
  t.regex(refused(side(), theirs({}, 65009)), /^2\/2 .*AS 65009.*expects 65002/)
  t.regex(refused(side({ asn: 'internal' }), theirs()), /^2\/2 /)
  t.regex(refused(side({ asn: 'external' }), theirs({}, 65001)), /^2\/2 /)
  t.is(refused(side({ asn: 'external' }), theirs()), 'accepted')
})

test('an identifier equal to ours is refused inside the AS and accepted outside of it', t => {
  t.regex(refused(side({ asn: 65001 }), theirs({}, 65001, '10.0.0.1')), /^2\/3 /)
  t.is(refused(side(), theirs({}, 65002, '10.0.0.1')), 'accepted')
})

test('a peer with none of our families is refused with the capabilities it lacks as data', t => {
  const verdict = negotiate(side({ families: ['ipv6-unicast'] }), theirs())
  t.true(verdict instanceof ProtocolError && verdict.subcode === 7)
  t.deepEqual(verdict instanceof ProtocolError && [...verdict.data], [1, 4, 0, 2, 0, 1])
})

test('a peer without the multiprotocol capability carries IPv4 unicast', t => {
  const plain: Open = { asn: 65002, holdTime: 30, routerId: 7, capabilities: [] }
  const { families, holdSeconds, receive, routeRefresh } = agreed(
    side({ families: ['ipv4-unicast', 'ipv6-unicast'] }),
    plain,
  )
  t.deepEqual(families, ['ipv4-unicast'])
  t.is(holdSeconds, 30)
  t.false(receive.as4 || receive.extendedMessage || routeRefresh)
})

test('the lower hold time counts, zero is the lowest, and keepalives go out in a third of it at the latest', t => {
  const timers = (holdTimeSeconds: number, keepaliveSeconds?: number) => ({
    timers: { holdTimeSeconds, keepaliveSeconds },
  })
  const times = (local: LocalSide, open: Open) => {
    const { holdSeconds, keepaliveSeconds } = agreed(local, open)
    return [holdSeconds, keepaliveSeconds]
  }
  t.deepEqual(times(side(timers(90)), theirs(timers(9))), [9, 3])
  t.deepEqual(times(side(timers(90, 5)), theirs(timers(60))), [60, 5])
  t.deepEqual(times(side(timers(3, 60)), theirs(timers(90))), [3, 1])
  t.deepEqual(times(side(timers(0)), theirs(timers(90))), [0, 0])
})

test('paths are added in a direction only when one side sends and the other receives', t => {
  const { receive, send } = agreed(
    side({ addPath: { receive: true, send: true } }),
    theirs({ addPath: { send: true }, asn: 65001 }),
  )
  t.deepEqual(receive.addPath, { ipv4: true, ipv6: false })
  t.deepEqual(send.addPath, { ipv4: false, ipv6: false })
})

test('roles that do not face each other are refused, and a missing one only when the role is strict', t => {
  t.is(refused(side({ role: 'provider' }), theirs({ role: 'customer' })), 'accepted')
  t.regex(refused(side({ role: 'provider' }), theirs({ role: 'peer' })), /^2\/11 .*provider.*peer/)
  t.is(refused(side({ role: 'provider' }), theirs()), 'accepted')
  t.regex(refused(side({ role: 'provider', strictRole: true }), theirs()), /^2\/11 /)
  t.is(refused(side({ role: 'provider', asn: 65001 }), theirs({ role: 'peer' }, 65001)), 'accepted')
})

test('without a configuration of its own a speaker still helps a peer that restarts', t => {
  const { gracefulRestart, notification } = agreed(side(), theirs({ gracefulRestart: { restartSeconds: 120 } }))
  t.deepEqual(gracefulRestart, {
    restarting: false,
    restartSeconds: 120,
    families: ['ipv4-unicast'],
    forwarding: ['ipv4-unicast'],
  })
  t.true(notification)
  const off = agreed(side({ gracefulRestart: false }), theirs({ gracefulRestart: { restartSeconds: 120 } }))
  t.is(off.gracefulRestart, undefined)
})

test('only a speaker that restarts sets the R bit', t => {
  const bit = (restarting: boolean) =>
    ownOpen(side({ gracefulRestart: { restartSeconds: 60 } }, { restarting })).capabilities.find(
      c => c.type === 'gracefulRestart',
    )?.restarting
  t.deepEqual([bit(true), bit(false)], [true, false])
})

test('a confederation shows its identifier outside and its member AS inside', t => {
  const confederated: SpeakerConfig = { ...speaker, confederation: { identifier: 64512, members: [65001, 65003] } }
  const peer = (asn: number): PeerConfig => ({ asn })
  t.deepEqual(relation(confederated, peer(65003), 65003), { peerType: 'confed', localAs: 65001 })
  t.deepEqual(relation(confederated, peer(65002), 65002), { peerType: 'ebgp', localAs: 64512 })
  t.deepEqual(relation(confederated, peer(65001), 65001), { peerType: 'ibgp', localAs: 65001 })
})
