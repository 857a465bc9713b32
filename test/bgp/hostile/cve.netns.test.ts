// The CVE classes of other speakers as bytes on the wire of a running `margay-bgp`: it lives, the session pays exactly
// what RFC 7606 says, and a second session notices nothing.
import test from 'ava'
import { isRoot } from '../../kernel/scratch-netns.ts'
import { until } from '../interop.ts'
import { opens, updates } from '../wire/cve-bytes.ts'
import { aMessage, anUpdate } from '../wire/wire.ts'
import { Arena, type Neighbor, prefixOf } from './arena.ts'
import { attributes, capabilities, hex, KEEPALIVE, TYPE } from './raw-peer.ts'

const CONFEDERATION = { identifier: 64512, members: [65001, 65003] }
const AS = { ebgp: 65002, ibgp: 65001, confed: 65003 } as const
const NLRI = '18 cb0071'
const BEFORE = '18 cb0072'
const AFTER = '18 cb0073'
const EXTENDED = '198.18.3.1'
const NARROW = '198.18.3.2'

const openAddress = (i: number) => `198.18.1.${i + 1}`
const updateAddress = (i: number) => `198.18.2.${i + 1}`

const neighbors: Neighbor[] = [
  ...opens.map((_, i) => ({ address: openAddress(i), asn: 65001 })),
  ...updates.map(([, , , session], i) => ({
    address: updateAddress(i),
    asn: AS[session?.peerType ?? 'ebgp'],
    families: ['ipv4-unicast', 'ipv6-unicast'],
  })),
  { address: EXTENDED, asn: 65002, maxPrefixes: { max: 1000 } },
  { address: NARROW, asn: 65004 },
]

let arena: Arena
const serial = isRoot ? test.serial : test.serial.skip
if (isRoot) {
  test.before(async () => {
    arena = await Arena.start(neighbors, { more: { confederation: CONFEDERATION } })
  })
  test.after.always(() => arena?.[Symbol.asyncDispose]())
} else
  test('a running speaker is not attacked here', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const candidates = (prefix: string) => arena.sources(prefix)

for (const [i, [title, body, outcome]] of opens.entries())
  serial(`OPEN, ${title}: ${outcome}`, async t => {
    const peer = await arena.dial(openAddress(i))
    peer.send(aMessage(TYPE.open, body.replace('fde9', hex(65001, 2))), KEEPALIVE)
    if (outcome === 'kept') {
      await peer.next(TYPE.keepalive)
      await until('the session is up', async () => (await arena.peer(openAddress(i))).state === 'Established')
      peer.reset()
    } else t.is((await peer.dismissed()).split(' ')[0], outcome)
    await arena.assertUnharmed(t)
  })

for (const [i, [title, parts, outcome, session]] of updates.entries())
  serial(`UPDATE, ${title}: ${outcome}`, async t => {
    const { peerType = 'ebgp', as4 = true } = session ?? {}
    const asn = AS[peerType]
    const both = `01 04 0001 00 01 01 04 0002 00 01 ${as4 ? `41 04 ${hex(asn, 4)}` : ''}`
    const peer = await arena.dial(updateAddress(i))
    await peer.establish({ asn, routerId: `c61202${hex(i + 1, 1)}`, capabilities: both })
    const plain = {
      ebgp: attributes(asn),
      ibgp: `40 01 01 00 40 02 00 40 03 04 c6120002 40 05 04 00000064`,
      confed: `40 01 01 00 40 02 06 03 01 ${hex(asn, 4)} 40 03 04 c6120002 40 05 04 00000064`,
    }[peerType]
    const usual = as4 ? plain : '40 01 01 00 40 02 04 02 01 fdea 40 03 04 c6120002'
    const announce = (nlri: string) => peer.send(anUpdate({ attributes: usual, nlri }))
    announce(BEFORE)
    announce(NLRI)
    const name = updateAddress(i)
    await until('both routes are there', async () => (await candidates(prefixOf(NLRI))).includes(name))
    peer.send(anUpdate(parts))
    if (/\d/.test(outcome)) {
      t.is((await peer.dismissed()).split(' ')[0], outcome)
      await until('its routes are gone', async () => !(await candidates(prefixOf(BEFORE))).includes(name))
    } else {
      announce(AFTER)
      await until('the next UPDATE is taken', async () => (await candidates(prefixOf(AFTER))).includes(name))
      const kept = (await candidates(prefixOf(NLRI))).includes(name)
      const names = parts.nlri === NLRI
      t.is(kept, !(names && outcome === 'withdraw'), 'the route that the UPDATE named')
      t.true((await candidates(prefixOf(BEFORE))).includes(name), 'a route that it did not name')
      const { state, flaps } = await arena.peer(name)
      t.deepEqual([state, flaps], ['Established', 0])
      peer.close()
    }
    await arena.assertUnharmed(t)
  })

serial('lengths of an UPDATE that do not fit the message end the session with 3/1', async t => {
  for (const body of ['ffff 0000', '0000 ffff', '0001 0000', '0000 0005 40010100']) {
    const peer = await arena.dial(NARROW)
    await peer.establish({ asn: 65004 })
    peer.send(aMessage(TYPE.update, body))
    t.is(await peer.dismissed(), '3/1', body)
  }
  await arena.assertUnharmed(t)
})

serial('CVE-2024-31949: a dynamic capability message is an unknown type: 1/3 with the type', async t => {
  const peer = await arena.dial(NARROW)
  await peer.establish({ asn: 65004 })
  peer.send(aMessage(6, '00010400010002'))
  t.is(await peer.dismissed(), '1/3 06')
  await arena.assertUnharmed(t)
})

serial('CVE-2019-16159: a shutdown text whose length lies ends the session and is no text', async t => {
  const peer = await arena.dial(NARROW)
  await peer.establish({ asn: 65004 })
  peer.send(aMessage(TYPE.notification, '0602 ff 61'))
  await peer.gone()
  const detail = await arena.reason(NARROW, 'peer-cease')
  t.true(detail.endsWith('Cease/Administrative Shutdown'), detail)
  await arena.assertUnharmed(t)
})

serial(
  'CVE-2026-49943: a path of 12,000 ASes is taken, and kept from a peer whose messages are too short for it',
  async t => {
    const wide = await arena.dial(EXTENDED)
    const narrow = await arena.dial(NARROW)
    await wide.establish({ routerId: 'c6120301', capabilities: `${capabilities(65002)} 06 00` })
    await narrow.establish({ asn: 65004, routerId: 'c6120302' })
    wide.send(anUpdate({ attributes: attributes(65002), nlri: NLRI }))
    await until('the short path is passed on', () => narrow.heard.some(({ body }) => named(body, NLRI)))
    const before = narrow.heard.length
    const segments = Array.from({ length: 47 }, () => `02 ff ${hex(65002, 4).repeat(255)}`).join('')
    const path = `50 02 ${hex(segments.replaceAll(' ', '').length / 2, 2)} ${segments}`
    wide.send(anUpdate({ attributes: `40 01 01 00 ${path} 40 03 04 c6120002`, nlri: NLRI }))
    await until('it is withdrawn from the other', () =>
      narrow.heard
        .slice(before)
        .some(({ type, body }) => type === TYPE.update && body.toString('hex') === '000418cb00710000'),
    )
    t.deepEqual(await candidates(prefixOf(NLRI)), [EXTENDED])
    t.is((await arena.peer(NARROW)).state, 'Established')
    wide.close()
    narrow.close()
    await arena.assertUnharmed(t)
  },
)

serial(
  'an unknown transitive attribute goes on as it came with Partial set, and a non-transitive one does not',
  async t => {
    const from = await arena.dial(EXTENDED)
    const to = await arena.dial(NARROW)
    await from.establish({ routerId: 'c6120301' })
    await to.establish({ asn: 65004, routerId: 'c6120302' })
    from.send(anUpdate({ attributes: `${attributes(65002)} d0 63 0002 beef 80 64 01 00`, nlri: NLRI }))
    const heard = () => to.heard.find(({ body }) => named(body, NLRI))?.body.toString('hex')
    await until('it is passed on', () => heard() !== undefined)
    t.regex(heard()!, /e06302beef/)
    t.notRegex(heard()!, /6401 ?00.*cb0071/)
    from.close()
    to.close()
    await arena.assertUnharmed(t)
  },
)

serial('none of it made the speaker grow past 200 MiB', async t => {
  t.log(`${arena.memoryMiB.toFixed(0)} MiB, ${arena.descriptors} descriptors`)
  t.true(arena.memoryMiB < 200)
  await arena.assertUnharmed(t)
})

function named(body: Buffer, nlri: string): boolean {
  return body.includes(Buffer.from(nlri.replaceAll(' ', ''), 'hex'))
}
