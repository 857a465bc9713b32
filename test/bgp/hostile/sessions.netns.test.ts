// Bytes that do not belong where they come, in every state of a session, at a running `margay-bgp`: the NOTIFICATION is
// the one the RFC names, with its data; the reason names the numbers; the next session works; a witness sees nothing.
import test from 'ava'
import { isRoot } from '../../kernel/scratch-netns.ts'
import { until } from '../interop.ts'
import { aMessage, anUpdate } from '../wire/wire.ts'
import { Arena } from './arena.ts'
import { anOpen, attributes, capabilities, hex, KEEPALIVE, type RawPeer, TYPE } from './raw-peer.ts'

const PEER = '198.18.6.1'
const INTERNAL = '198.18.6.2'
const DIALLED = { higher: '198.18.6.3', lower: '198.18.6.4', resetting: '198.18.6.5' } as const
const NLRI = '18 cb0071'
const EXTENDED = `${capabilities(65002)} 06 00`

let arena: Arena
const serial = isRoot ? test.serial : test.serial.skip
if (isRoot) {
  test.before(async () => {
    arena = await Arena.start([
      { address: PEER, asn: 65002 },
      { address: INTERNAL, asn: 'internal' },
      ...Object.values(DIALLED).map(address => ({ address, asn: 65002, passive: false, connectRetry: 1 })),
    ])
  })
  test.after.always(() => arena?.[Symbol.asyncDispose]())
} else
  test('no session is abused here', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** A message whose header says `length`, whatever follows. */
function claiming(type: number, length: number, body = ''): Uint8Array {
  const bytes = aMessage(type, body)
  bytes[16] = length >> 8
  bytes[17] = length & 255
  return bytes
}

const open = anOpen()
const update = anUpdate({ attributes: attributes(65002), nlri: NLRI })

/** Each phase with what a peer sends to bring our side there. */
const PHASES = {
  OpenSent: [],
  OpenConfirm: [open],
  Established: [open, KEEPALIVE],
} as const

async function inPhase(phase: keyof typeof PHASES): Promise<RawPeer> {
  const peer = await arena.dial(PEER)
  await peer.next(TYPE.open)
  peer.send(...PHASES[phase])
  await until(phase, async () => (await arena.peer(PEER)).state === phase)
  return peer
}

const rows: readonly [title: string, phase: keyof typeof PHASES, bytes: Uint8Array, answer: string, reason: string][] =
  [
    ['HTTP', 'OpenSent', Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), '1/1', 'protocol-error'],
    ['nineteen zeros', 'OpenSent', new Uint8Array(19), '1/1', 'protocol-error'],
    ['HTTP', 'Established', Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), '1/1', 'protocol-error'],
    ['a length of 18', 'OpenSent', claiming(TYPE.open, 18), '1/2 0012', 'protocol-error'],
    ['a length of 0', 'Established', claiming(TYPE.update, 0), '1/2 0000', 'protocol-error'],
    ['a KEEPALIVE of 20 octets', 'Established', aMessage(TYPE.keepalive, '00'), '1/2 0014', 'protocol-error'],
    ['an UPDATE of 22 octets', 'Established', aMessage(TYPE.update, '000000'), '1/2 0016', 'protocol-error'],
    ['an UPDATE of 4097 octets', 'Established', claiming(TYPE.update, 4097), '1/2 1001', 'protocol-error'],
    ['an UPDATE of 65535 octets', 'Established', claiming(TYPE.update, 65535), '1/2 ffff', 'protocol-error'],
    ['an OPEN of 4097 octets', 'OpenSent', claiming(TYPE.open, 4097), '1/2 1001', 'protocol-error'],
    ['type 0', 'OpenSent', aMessage(0, ''), '1/3 00', 'protocol-error'],
    ['type 255', 'Established', aMessage(255, ''), '1/3 ff', 'protocol-error'],
    ['a KEEPALIVE', 'OpenSent', KEEPALIVE, '5/1', 'protocol-error'],
    ['an UPDATE', 'OpenSent', update, '5/1', 'protocol-error'],
    ['a ROUTE-REFRESH', 'OpenSent', aMessage(TYPE.refresh, '00010001'), '5/1', 'protocol-error'],
    ['a second OPEN', 'OpenConfirm', open, '5/2', 'protocol-error'],
    ['an UPDATE', 'OpenConfirm', update, '5/2', 'protocol-error'],
    ['a second OPEN', 'Established', open, '5/3', 'protocol-error'],
    ['version 3', 'OpenSent', anOpen({ version: 3 }), '2/1 0004', 'bad-open'],
    ['hold time 1', 'OpenSent', anOpen({ holdTime: 1 }), '2/6 0001', 'bad-open'],
    ['hold time 2', 'OpenSent', anOpen({ holdTime: 2 }), '2/6 0002', 'bad-open'],
    ['identifier 0.0.0.0', 'OpenSent', anOpen({ routerId: '00000000' }), '2/3 00000000', 'bad-open'],
    ['AS 65099', 'OpenSent', anOpen({ asn: 65099 }), '2/2', 'wrong-as'],
    ['AS 4200000000', 'OpenSent', anOpen({ asn: 4_200_000_000 }), '2/2', 'wrong-as'],
    ['the reserved AS 0', 'OpenSent', anOpen({ asn: 0 }), '2/2 0000', 'wrong-as'],
    ['IPv6 only', 'OpenSent', anOpen({ capabilities: '01 04 0002 00 01' }), '2/7 010400010001', 'bad-open'],
    [
      'an optional parameter of type 1',
      'OpenSent',
      aMessage(TYPE.open, '04 fdea 005a c6120002 04 01 02 0000'),
      '2/4 01020000',
      'bad-open',
    ],
  ]

for (const [title, phase, bytes, answer, reason] of rows)
  serial(`${title} in ${phase} gets ${answer}`, async t => {
    const peer = await inPhase(phase)
    peer.send(bytes)
    t.is(await peer.dismissed(), answer)
    const detail = await arena.reason(PEER, reason)
    const [code, subcode] = answer.split(/[/ ]/)
    if (reason === 'bad-open') t.regex(detail, new RegExp(`code ${code}, subcode ${subcode}, data (none|[0-9a-f]+)`))
    if (title.startsWith('AS ')) t.true(detail.includes(title.slice(3)) && detail.includes('65002'), detail)
    const again = await inPhase('Established')
    again.reset()
    await arena.assertUnharmed(t)
  })

serial('our own identifier from an internal peer gets 2/3', async t => {
  const peer = await arena.dial(INTERNAL)
  peer.send(anOpen({ asn: 65001, routerId: 'c0000201' }))
  t.is(await peer.dismissed(), '2/3')
  await arena.assertUnharmed(t)
})

serial('with extended messages an UPDATE of 4097 and one of 65535 octets are taken, whole or in pieces', async t => {
  for (const length of [4097, 65_535]) {
    const peer = await arena.dial(PEER)
    await peer.establish({ capabilities: EXTENDED })
    const prefixes = Math.floor((length - 19 - 4 - 20) / 4)
    const spare = length - 19 - 4 - 20 - 4 * prefixes
    // what four-octet prefixes leave over is a shorter prefix or two
    const rest = ['', '00', '00 00', '10 0b0a'][spare] ?? ''
    const nlri = Array.from({ length: prefixes }, (_, i) => `18 ${hex(0x0c0000 + i, 3)}`)
    const bytes = anUpdate({ attributes: attributes(65002), nlri: `${nlri.join('')} ${rest}` })
    t.is(bytes.length, length)
    for (let at = 0; at < length; at += 1000) peer.send(bytes.subarray(at, at + 1000))
    await until('all are there', async () => (await arena.peer(PEER)).prefixes.received >= prefixes)
    peer.reset()
    await until('the session is over', async () => (await arena.peer(PEER)).state !== 'Established')
  }
  await arena.assertUnharmed(t)
})

serial('with extended messages an OPEN or KEEPALIVE of 4097 octets still gets 1/2', async t => {
  for (const type of [TYPE.open, TYPE.keepalive]) {
    const peer = await arena.dial(PEER)
    await peer.establish({ capabilities: EXTENDED })
    peer.send(claiming(type, 4097))
    t.is(await peer.dismissed(), '1/2 1001')
  }
  await arena.assertUnharmed(t)
})

serial('a ROUTE-REFRESH of a wrong length gets 7/1 with the whole message', async t => {
  const peer = await inPhase('Established')
  const bytes = aMessage(TYPE.refresh, '0001010100')
  peer.send(bytes)
  t.is(await peer.dismissed(), `7/1 ${Buffer.from(bytes).toString('hex')}`)
  await arena.assertUnharmed(t)
})

serial('a refresh of a family that nobody agreed on, or of a subtype that nobody knows, changes nothing', async t => {
  const peer = await inPhase('Established')
  for (const body of ['0002 00 01', '0001 00 85', 'ffff ff ff', '0001 07 01', '0001 02 01', '0001 01 01'])
    peer.send(aMessage(TYPE.refresh, body))
  peer.send(update)
  await until('the next UPDATE is taken', async () => (await arena.sources('203.0.113.0/24')).includes(PEER))
  t.is((await arena.peer(PEER)).state, 'Established')
  peer.reset()
  await arena.assertUnharmed(t)
})

serial('a NOTIFICATION of 60,000 octets makes no long reason', async t => {
  const peer = await arena.dial(PEER)
  await peer.establish({ capabilities: EXTENDED })
  peer.send(aMessage(TYPE.notification, `03 01 ${'a5'.repeat(60_000)}`))
  await peer.gone()
  const detail = await arena.reason(PEER, 'protocol-error')
  t.regex(detail, /a5a5… of 60000 octets/)
  t.true(detail.length < 200)
  await arena.assertUnharmed(t)
})

for (const phase of Object.keys(PHASES) as (keyof typeof PHASES)[]) {
  serial(`a NOTIFICATION in ${phase} ends the session without an answer, and the reason says so`, async t => {
    const peer = await inPhase(phase)
    peer.send(aMessage(TYPE.notification, '06 04'))
    await peer.gone()
    t.false(peer.heard.some(({ type }) => type === TYPE.notification))
    t.regex(await arena.reason(PEER, 'peer-cease'), /Administrative Reset/)
    await arena.assertUnharmed(t)
  })

  for (const [how, end] of [
    ['RST', (peer: RawPeer) => peer.reset()],
    ['FIN', (peer: RawPeer) => peer.close()],
  ] as const)
    serial(`${how} in ${phase}, also in the middle of a message, and the next session comes up`, async t => {
      for (const part of [0, 1, 18, 19, 30]) {
        const peer = await inPhase(phase)
        peer.send(update.subarray(0, part))
        end(peer)
        await until('it is over', async () => (await arena.peer(PEER)).state !== phase)
      }
      await arena.reason(PEER, how === 'RST' ? 'reset' : 'closed')
      const again = await inPhase('Established')
      again.reset()
      await arena.assertUnharmed(t)
    })
}

serial('a peer that accepts and resets at once is dialled again, and the reason is reset', async t => {
  const listener = arena.listen(DIALLED.resetting)
  for (let round = 0; round < 3; round++) (await listener.next()).reset()
  await arena.reason(DIALLED.resetting, 'reset')
  const peer = await listener.next()
  await peer.establish({ routerId: 'c6120605' })
  await until('it is up', async () => (await arena.peer(DIALLED.resetting)).state === 'Established')
  await arena.assertUnharmed(t)
})

for (const [who, routerId, stays] of [
  ['higher', 'c6120603', 'incoming'],
  ['lower', '01010101', 'outgoing'],
] as const)
  serial(`of two colliding connections the ${stays} one stays when the peer's identifier is ${who}`, async t => {
    const listener = arena.listen(DIALLED[who])
    const outgoing = await listener.next()
    const incoming = await arena.dial(DIALLED[who])
    await Promise.all([outgoing.next(TYPE.open), incoming.next(TYPE.open)])
    outgoing.send(anOpen({ routerId }))
    await outgoing.next(TYPE.keepalive)
    incoming.send(anOpen({ routerId }))
    const [winner, loser] = stays === 'outgoing' ? [outgoing, incoming] : [incoming, outgoing]
    t.is(await loser.dismissed(), '6/7')
    winner.send(KEEPALIVE)
    await until('it is up', async () => (await arena.peer(DIALLED[who])).state === 'Established')
    t.is(winner.ended, undefined)
    // a third connection does not disturb the session that stands
    const third = await arena.dial(DIALLED[who])
    third.send(anOpen({ routerId }), KEEPALIVE)
    t.is(await third.dismissed(), '6/7')
    t.is((await arena.peer(DIALLED[who])).flaps, 0)
    await arena.assertUnharmed(t)
  })
