import test from 'ava'
import { askedBfd } from '../../../agent/cluster/bfd.ts'
import type { PeerConfig } from '../../../bgp/config.ts'
import { aResource } from '../../datastore/objects.ts'
import { all, aNode, aPeer, world } from './peer-world.ts'

const asked = (text: string) => askedBfd({ annotations: { 'margay.io/BFD': text } })
const withBfd = (name: string, text: string, spec: Record<string, unknown>) =>
  aResource('BGPPeer', { metadata: { name, annotations: { 'margay.io/BFD': text } }, spec })

test('an annotation says interval, number of packets, and whether over routers', t => {
  t.deepEqual(asked('300ms x 3'), { bfd: { intervalMs: 300, multiplier: 3 } })
  t.deepEqual(asked(' 50ms x3  multihop '), { bfd: { intervalMs: 50, multiplier: 3, multihop: true } })
  t.deepEqual(asked('1s x 255'), { bfd: { intervalMs: 1000, multiplier: 255 } })
  t.deepEqual(asked('60s x 1'), { bfd: { intervalMs: 60_000, multiplier: 1 } })
  t.deepEqual(asked('150ms x 1'), { bfd: { intervalMs: 150, multiplier: 1 } })
})

test('nothing is asked for without the annotation, or with an empty one', t => {
  t.deepEqual(askedBfd({}), {})
  t.deepEqual(askedBfd({ annotations: {} }), {})
  t.deepEqual(asked(' '), {})
})

for (const [text, why] of [
  ['on', /does not begin with an interval/],
  ['300 x 3', /does not begin with an interval/],
  ['300ms', /does not begin with an interval/],
  ['300ms x 3x', /does not begin with an interval/],
  ['49ms x 9', /interval is not from 50ms to 60s/],
  ['61s x 3', /interval is not from/],
  ['300ms x 0', /packets is not from 1 to 255/],
  ['300ms x 256', /packets is not from 1 to 255/],
  ['50ms x 2', /100 ms are too short/],
  ['300ms x 3 echo', /word echo, but of multihop/],
  ['300ms x 3 multihop demand', /word demand/],
] as const)
  test(`${text} is refused with what is wrong, and there is no BFD`, t => {
    const { bfd, fault } = asked(text)
    t.is(bfd, undefined)
    t.regex(fault!.message, why)
    t.regex(fault!.remedy, /300ms x 3/)
  })

const bfdOf = ({ wanted }: { wanted: readonly PeerConfig[] }) =>
  Object.fromEntries(wanted.map(({ name, bfd }) => [name, bfd]))
const BFD = { intervalMs: 100, multiplier: 5 }

test('of the BGPConfiguration it is for the mesh, and of a BGPPeer for all of its sessions, at either end', t => {
  const nodes = ['9', '10', '11'].map((last, i) => aNode(`n${i + 1}`, `192.168.10.${last}`, {}, { rack: 'a' }))
  t.deepEqual(bfdOf(all({ nodes, bfd: { bfd: BFD } })), { Mesh_192_168_10_10: BFD, Mesh_192_168_10_11: BFD })
  t.deepEqual(bfdOf(all({ nodes })), { Mesh_192_168_10_10: undefined, Mesh_192_168_10_11: undefined })
  const peers = [
    withBfd('tor', '100ms x 5', { peerIP: '10.1.0.1', asNumber: 65000 }),
    withBfd('pair', '100ms x 5', { node: 'n2', peerSelector: "rack == 'a'" }),
    // the far end of a BGPPeer that names this node has it, too
    withBfd('named', '100ms x 5', { node: 'n3', peerIP: '192.168.10.9' }),
    aPeer('plain', { peerIP: '10.1.0.2', asNumber: 65000 }),
  ]
  t.deepEqual(bfdOf(all({ nodes, peers })), {
    ...{ Global_10_1_0_1: BFD, Global_10_1_0_2: undefined, Node_192_168_10_10: BFD, Node_192_168_10_11: BFD },
  })
})

test('a session whose annotation makes no sense comes up without BFD, and its object is told', t => {
  const peers = [
    withBfd('tor', 'fast', { peerIP: '10.1.0.1', asNumber: 65000 }),
    // for another node: not told here
    withBfd('other', 'fast', { node: 'n2', peerIP: '10.1.0.2', asNumber: 65000 }),
  ]
  const bfd = asked('slow')
  const { wanted, refused } = all({ ...world({ peers }), bfd })
  t.deepEqual(
    wanted.filter(each => each.bfd !== undefined),
    [],
  )
  t.true(wanted.some(({ address }) => address === '10.1.0.1'))
  t.deepEqual(
    refused.map(({ type, reason, object }) => `${type} ${reason} ${object?.kind} ${object?.name}`),
    ['PeersConfigured BadBFD BGPConfiguration default', 'PeersConfigured BadBFD BGPPeer tor'],
  )
})

const key = { name: 'bfd', key: 'rack' }

test('a key is named once, and has to be named whole', t => {
  t.deepEqual(asked('300ms x 3 secret=bfd/rack multihop'), {
    ...{ bfd: { intervalMs: 300, multiplier: 3, multihop: true }, secret: key },
  })
  for (const text of ['secret=bfd', 'secret=/rack', 'secret=a/b secret=c/d', 'secret=a/b/c'])
    t.regex(asked(`300ms x 3 ${text}`).fault?.message ?? '', /nothing is known of the word secret=/, text)
})

test('a session with a key has BFD once the key is known, and never without it', t => {
  const signed = (secret: string) => ({
    ...{ intervalMs: 300, multiplier: 3, authentication: { type: 'meticulous-sha1', keys: [{ id: 1, secret }] } },
  })
  const tor = withBfd('tor', '300ms x 3 secret=bfd/rack', { peerIP: '10.1.0.1', asNumber: 65000 })
  for (const [what, of, address] of [
    ['a BGPPeer', { peers: [tor] }, '10.1.0.1'],
    ['the mesh', { bfd: asked('300ms x 3 secret=bfd/rack') }, '192.168.10.10'],
  ] as const) {
    const { peers, wanted, refused } = all(of)
    const sessionIn = (all: readonly PeerConfig[]) => all.find(each => each.address === address)
    const changed = () => sessionIn(peers.take().flatMap(({ peer }) => peer ?? []))
    const why = () => peers.refused().filter(({ type }) => type === 'PeersConfigured')
    t.deepEqual(peers.secrets(), [key], what)
    t.is(sessionIn(wanted)?.bfd, undefined, `${what}: it is being read`)
    t.true(sessionIn(wanted) !== undefined, 'the session does not wait')
    t.deepEqual(
      refused.filter(({ type }) => type === 'PeersConfigured'),
      [],
    )
    peers.password(key, { text: 'one' })
    t.like(changed()?.bfd, signed('one'), what)
    peers.password(key, { text: 'two' })
    t.like(changed()?.bfd, signed('two'), what)
    peers.password(key, { missing: { reason: 'NoSecret', message: 'no Secret; there is no session', remedy: 'r' } })
    t.is(changed()?.bfd, undefined, what)
    t.deepEqual(
      why().map(({ reason, message }) => `${reason} ${message}`),
      ['NoSecret of BFD: no Secret; the sessions have no BFD'],
    )
    peers.password(key, { text: 'x'.repeat(21) })
    t.deepEqual(
      why().map(({ reason }) => reason),
      ['LongKey'],
    )
    t.false(why()[0]!.message.includes('xxx'))
    peers.password(key, { text: 'x'.repeat(20) })
    t.deepEqual(why(), [])
  }
})
