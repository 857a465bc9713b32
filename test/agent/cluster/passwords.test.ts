// Sessions whose objects name a password: with it, or not at all; and what of a Secret is a password.
import test from 'ava'
import { judgePassword, NOT_READ, type Password } from '../../../agent/cluster/passwords.ts'
import { all, aNode, aPeer, settings } from './peer-world.ts'

const secret = { name: 'bgp', key: 'rack' }
const password = { secretKeyRef: secret }
const missing: Password = { missing: { reason: 'NoSecret', message: 'm', remedy: 'r' } }
const data = (value: string | Buffer) => ({ rack: Buffer.from(value).toString('base64') })

/** Objects of each form that ask for a session, and the address that it is with. */
const FORMS = [
  ['a router', { peers: [aPeer('tor', { peerIP: '10.0.0.1', asNumber: 65001, password })] }, '10.0.0.1'],
  ['a node by its address', { peers: [aPeer('n', { peerIP: '192.168.10.10', password })] }, '192.168.10.10'],
  ['a node that a selector takes', { peers: [aPeer('s', { peerSelector: 'all()', password })] }, '192.168.10.10'],
  ['the nodes that name this one', { peers: [aPeer('r', { peerIP: '192.168.10.9', password })] }, '192.168.10.10'],
  ['the mesh', { config: settings({ nodeMeshPassword: password }) }, '192.168.10.10'],
] as const

test('a session of whatever object has the password that is named, never comes up without, and follows it', t => {
  for (const [what, of, address] of FORMS) {
    const { peers, wanted, refused } = all(of)
    t.false(
      wanted.some(peer => peer.address === address),
      `${what}: before the Secret was read`,
    )
    t.deepEqual(
      refused.filter(({ type }) => type === 'PeersConfigured'),
      [],
      `${what}: it is being read`,
    )
    t.true(peers.secrets().some(each => each.name === 'bgp' && each.key === 'rack'))
    const at = () => peers.take().find(({ key }) => key === address)
    for (const text of ['one', 'two']) {
      peers.password(secret, { text })
      t.like(at(), { peer: { address, password: text } }, what)
      t.deepEqual(
        peers.refused().filter(({ type }) => type === 'PeersConfigured'),
        [],
        what,
      )
    }
    peers.password(secret, missing)
    t.deepEqual(at(), { key: address }, `${what}: it ends`)
    t.true(
      peers.refused().some(({ reason }) => reason === 'NoSecret'),
      what,
    )
  }
})

test('a living session that gets a password, or another Secret, stays as it is until that was read, and then has it', t => {
  const tor = (field: object) => aPeer('tor', { peerIP: '10.0.0.1', asNumber: 1, ...field })
  const { peers } = all({ peers: [tor({})] })
  const changes = () => peers.take().filter(({ key }) => key === '10.0.0.1')
  peers.bgpPeer('tor', tor({ password }))
  t.deepEqual(changes(), [])
  peers.password(secret, { text: 'one' })
  t.like(changes(), [{ peer: { password: 'one' } }])
  peers.bgpPeer('tor', tor({ password: { secretKeyRef: { name: 'new', key: 'k' } } }))
  t.deepEqual(changes(), [])
  peers.password({ name: 'new', key: 'k' }, missing)
  t.deepEqual(changes(), [{ key: '10.0.0.1' }], 'which is closed where it cannot be read')
})

test('while a password is missing nothing else opens the session in its place: no wider BGPPeer and no mesh', t => {
  const peers = [
    aPeer('guarded', { node: 'n1', peerIP: '192.168.10.10', password }),
    aPeer('wide', { peerIP: '192.168.10.10', asNumber: 64512 }),
  ]
  const { wanted } = all({ peers })
  t.deepEqual(
    wanted.map(({ address }) => address),
    ['192.168.20.11'],
  )
})

test('a password that names no Secret closes its session as one that is missing does', t => {
  for (const field of [{}, { secretKeyRef: { name: '', key: '' } }]) {
    const { wanted, peers } = all({ peers: [aPeer('tor', { peerIP: '10.0.0.1', asNumber: 1, password: field })] })
    t.false(wanted.some(({ address }) => address === '10.0.0.1'))
    t.deepEqual(peers.secrets(), [{ name: '', key: '' }])
  }
})

test('a node needs the Secrets of its own sessions: not of a BGPPeer for others, nor of the mesh that it takes no part in', t => {
  const far = aPeer('far', { node: 'n2', peerIP: '10.0.0.1', asNumber: 1, password })
  t.deepEqual(all({ peers: [far] }).peers.secrets(), [])
  const config = settings({ nodeMeshPassword: password })
  const reflector = aNode('n1', '192.168.10.9', { 'projectcalico.org/RouteReflectorClusterID': '224.0.0.1' })
  t.deepEqual(all({ config, nodes: [reflector, aNode('n2', '192.168.10.10')] }).peers.secrets(), [])
  t.deepEqual(all({ config }).peers.secrets(), [secret])
})

test('another password of one Secret leaves the sessions of other keys alone', t => {
  const other = { name: 'bgp', key: 'other' }
  const tor = aPeer('tor', { peerIP: '10.0.0.1', asNumber: 1, password })
  const second = aPeer('second', { peerIP: '10.0.0.2', asNumber: 1, password: { secretKeyRef: other } })
  const { peers } = all({ peers: [tor, second] })
  peers.password(secret, { text: 'one' })
  peers.password(other, { text: 'one' })
  peers.take()
  peers.password(other, { text: 'two' })
  t.deepEqual(
    peers.take().map(({ key }) => key),
    ['10.0.0.2'],
  )
})

test('a value is a password as the kernel and the other end can have it: 1 to 80 octets of text without control characters', t => {
  const judge = (of: Record<string, string> | undefined) => judgePassword(secret, of, 'kube-system')
  for (const text of ['x', 'geheim & "geheim"', 'schlüssel', 'a'.repeat(80)]) t.deepEqual(judge(data(text)), { text })
  for (const [reason, of] of [
    ['NoSecret', undefined],
    ['NoKey', {}],
    ['EmptyPassword', data('')],
    ['LongPassword', data('a'.repeat(81))],
    ['LongPassword', data('ü'.repeat(41))],
    ['NoText', data('from a file\n')],
    ['NoText', data('a\0b')],
    ['NoText', data(Buffer.from([0xff, 0xfe]))],
  ] as const) {
    const { missing: cause } = judge(of) as { missing: { reason: string; message: string; remedy: string } }
    t.is(cause.reason, reason)
    t.regex(cause.message, /Secret kube-system\/bgp.*; there is no session$/)
    t.true(cause.remedy.length > 10)
    t.regex(NOT_READ.message, /; there is no session$/)
    t.false(/from a file|aaa|üü/.test(JSON.stringify(cause)), 'nothing of the value is told')
  }
  const inherited = judgePassword({ name: 'bgp', key: 'constructor' }, {}, 'kube-system')
  t.like(inherited, { missing: { reason: 'NoKey' } })
})
