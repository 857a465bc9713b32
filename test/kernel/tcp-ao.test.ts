// The structures of linux/tcp.h for TCP-AO, octet by octet as a C compiler lays them out.
import test from 'ava'
import { closeSocket, openTcp, removeTcpAoKey, socketAddress } from '../../kernel/sockopt.ts'
import { tcpAoAdd, tcpAoAsk, tcpAoDelete } from '../../kernel/tcp-ao.ts'

const KEY = { sendId: 1, receiveId: 200, algorithm: 'hmac-sha1', secret: 'sécret' } as const
const address = socketAddress('192.0.2.1', 0)

test('a key is 288 octets: whom it is for, the algorithm, the ids and the secret in UTF-8', t => {
  const octets = tcpAoAdd(address, 32, KEY, true)
  t.is(octets.length, 288)
  t.is(octets.subarray(0, 8).toString('hex'), '02000000c0000201')
  t.is(octets.subarray(128, 139).toString(), 'hmac(sha1)\0')
  t.is(
    octets.subarray(192, 208).toString('hex'),
    '00000000' + '03000000' + '0000' + '20' + '01' + 'c8' + '00' + '00' + '07',
  )
  t.is(octets.subarray(208, 215).toString(), 'sécret')
  t.deepEqual(octets.subarray(215), Buffer.alloc(73))
  const later = tcpAoAdd(address, 24, { ...KEY, algorithm: 'aes-128-cmac' }, false)
  t.is(later.subarray(128, 141).toString(), 'cmac(aes128)\0')
  t.is(later.subarray(196, 203).toString('hex'), '00000000' + '0000' + '18')
})

test('a secret of 80 octets fits, a longer one is refused', t => {
  t.is(tcpAoAdd(address, 32, { ...KEY, secret: 'k'.repeat(80) }, false)[207], 80)
  t.throws(() => tcpAoAdd(address, 32, { ...KEY, secret: 'é'.repeat(41) }, false), { message: 'a key of 82 octets' })
})

test('a key is taken from a listening socket by its ids and whom it is for', t => {
  const octets = tcpAoDelete(socketAddress('2001:db8::1', 0), 64, KEY)
  t.is(octets.length, 144)
  t.is(octets.subarray(8, 24).toString('hex'), '20010db8000000000000000000000001')
  t.is(octets.subarray(128).toString('hex'), '00000000' + '04000000' + '0000' + '40' + '01' + 'c8' + '000000')
})

test('a connection asks its peer for a key by the id that the peer sends with it', t => {
  t.is(tcpAoAsk(KEY).toString('hex'), `02000000000000c8${'00'.repeat(40)}`)
})

test('a key that a socket does not have is no error when it goes, whether the kernel has TCP-AO or not', t => {
  for (const [family, peer] of [
    ['ipv4', '192.0.2.1'],
    ['ipv6', '2001:db8::/64'],
  ] as const) {
    const fd = openTcp(family)
    t.notThrows(() => removeTcpAoKey(fd, peer, { sendId: 1, receiveId: 1, algorithm: 'hmac-sha1', secret: 'secret' }))
    closeSocket(fd)
  }
})
