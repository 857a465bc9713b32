// Sessions whose objects ask for TCP-AO: with all of their keys, or not at all.
import test from 'ava'
import { meshOf } from '../../../agent/cluster/bgp-objects.ts'
import type { Password } from '../../../agent/cluster/passwords.ts'
import { askedAo } from '../../../agent/cluster/tcp-ao.ts'
import { aResource } from '../../datastore/objects.ts'
import { all } from './peer-world.ts'

const asked = (text: string, password = false) => askedAo({ annotations: { 'margay.io/TCPAO': text } }, password)
const withKeys = (name: string, text: string, spec: Record<string, unknown>) =>
  aResource('BGPPeer', { metadata: { name, annotations: { 'margay.io/TCPAO': text } }, spec })
const from = (key: string) => ({ name: 'bgp', key })
const missing: Password = { missing: { reason: 'NoSecret', message: 'm', remedy: 'r' } }
const TWO = '2=bgp/new 1=bgp/old:aes-128-cmac'
const KEYS = [
  { sendId: 2, receiveId: 2, algorithm: 'hmac-sha1', secret: 'the new' },
  { sendId: 1, receiveId: 1, algorithm: 'aes-128-cmac', secret: 'the old' },
]

test('an annotation names keys of Secrets with their ids, in their order', t => {
  t.deepEqual(asked(TWO).keys, [
    { id: 2, algorithm: 'hmac-sha1', from: from('new') },
    { id: 1, algorithm: 'aes-128-cmac', from: from('old') },
  ])
  t.deepEqual(asked('  0=a/b  255=a/tls.key:hmac-sha1').keys.length, 2)
  for (const nothing of [askedAo({}, true), asked(' ', true)]) t.deepEqual(nothing, { keys: [] })
})

for (const [text, why] of [
  ['bgp/new', /bgp\/new is not of the form ID=NAME\/KEY/],
  ['1=bgp', /1=bgp is not of the form/],
  ['1=bgp/a/b', /is not of the form/],
  ['256=bgp/a', /the id 256 is above 255/],
  ['1=bgp/a 1=bgp/b', /two keys have the id 1/],
  ['1=bgp/a:md5', /nothing is known of md5, but of hmac-sha1 and aes-128-cmac/],
  [Array.from({ length: 17 }, (_, i) => `${i}=bgp/k`).join(' '), /it has 17 keys/],
] as const)
  test(`${text} is refused with what is wrong, and there is no session`, t => {
    const { keys, fault } = asked(text)
    t.deepEqual(keys, [])
    t.regex(fault!.message, why)
    t.regex(fault!.message, /there is no session$/)
    const { wanted, refused } = all({ peers: [withKeys('tor', text, { peerIP: '10.0.0.1', asNumber: 1 })] })
    t.false(wanted.some(({ address }) => address === '10.0.0.1'))
    t.true(refused.some(({ reason, object }) => reason === 'BadTCPAO' && object?.name === 'tor'))
  })

/** Objects of each form that ask for a session, and the address that it is with. */
const FORMS = [
  ['a router', { peers: [withKeys('tor', TWO, { peerIP: '10.0.0.1', asNumber: 65001 })] }, '10.0.0.1'],
  ['a node by its address', { peers: [withKeys('n', TWO, { peerIP: '192.168.10.10' })] }, '192.168.10.10'],
  ['a node that a selector takes', { peers: [withKeys('s', TWO, { peerSelector: 'all()' })] }, '192.168.10.10'],
  ['the nodes that name this one', { peers: [withKeys('r', TWO, { peerIP: '192.168.10.9' })] }, '192.168.10.10'],
  ['the mesh', { ao: asked(TWO) }, '192.168.10.10'],
] as const

test('a session of whatever object has all keys that are named, never comes up with fewer, and follows them', t => {
  for (const [what, of, address] of FORMS) {
    const { peers, wanted } = all(of)
    const at = () => peers.take().find(({ key }) => key === address)
    t.false(
      wanted.some(peer => peer.address === address),
      `${what}: before the Secret was read`,
    )
    t.deepEqual([...new Set(peers.secrets().map(({ key }) => key))], ['new', 'old'])
    peers.password(from('new'), { text: 'the new' })
    t.is(at(), undefined, `${what}: one is not read`)
    peers.password(from('old'), { text: 'the old' })
    t.deepEqual(at()?.peer?.tcpAo, KEYS, what)
    peers.password(from('old'), missing)
    t.deepEqual(at(), { key: address }, `${what}: it ends`)
    t.true(
      peers.refused().some(({ reason }) => reason === 'NoSecret'),
      what,
    )
  }
})

test('an object with a password beside keys has no session, the mesh neither', t => {
  const password = { secretKeyRef: from('new') }
  const { wanted, refused } = all({ peers: [withKeys('tor', TWO, { peerIP: '10.0.0.1', asNumber: 1, password })] })
  t.false(wanted.some(({ address }) => address === '10.0.0.1'))
  t.true(refused.some(({ message }) => /has a password beside annotation margay\.io\/TCPAO/.test(message)))
  const metadata = { name: 'default', annotations: { 'margay.io/TCPAO': '1=bgp/new' } }
  const spec = { nodeMeshPassword: password }
  const { ao } = meshOf(aResource('BGPConfiguration', { metadata, spec }))
  const mesh = all({ ao })
  t.deepEqual(mesh.wanted, [])
  t.true(mesh.refused.some(({ reason, object }) => reason === 'BadTCPAO' && object?.kind === 'BGPConfiguration'))
})
