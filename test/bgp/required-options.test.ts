// What a listening socket is told of the keys of its peers, and what becomes of connections while it cannot be told.
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import type { Sockets } from '../../bgp/port.ts'
import { RequiredOptions } from '../../bgp/required-options.ts'
import type { TcpAoKey } from '../../lib/tcp-ao.ts'

const key = (id: number, secret = 'one'): TcpAoKey => ({ sendId: id, receiveId: id, algorithm: 'hmac-sha1', secret })
const PEER = '192.0.2.1'

/** A listening socket as the kernel keeps it: keys of one kind for a peer, no id twice, and it may refuse everything. */
class Kernel {
  readonly keys = new Map<string, TcpAoKey[]>()
  readonly md5 = new Map<string, string>()
  refuses = false
  refusedId: number | undefined

  readonly sockets: Pick<Sockets, 'setMd5' | 'addTcpAoKey' | 'removeTcpAoKey'> = {
    setMd5: (_fd, _family, peer, text) => {
      if (text === undefined) this.md5.delete(peer)
      else if (this.refuses || this.#of(peer).length > 0) throw new Error('EKEYREJECTED')
      else this.md5.set(peer, text)
    },
    addTcpAoKey: (_fd, peer, added, first) => {
      const keys = this.#of(peer)
      if (first) throw new Error('EINVAL: it listens')
      if (this.refuses || added.sendId === this.refusedId || this.md5.has(peer)) throw new Error('EKEYREJECTED')
      if (keys.some(({ sendId, receiveId }) => sendId === added.sendId || receiveId === added.receiveId))
        throw new Error('EEXIST')
      this.keys.set(peer, [...keys, added])
    },
    removeTcpAoKey: (_fd, peer, { sendId, receiveId }) => {
      this.keys.set(
        peer,
        this.#of(peer).filter(each => each.sendId !== sendId || each.receiveId !== receiveId),
      )
    },
  }

  #of(peer: string): TcpAoKey[] {
    return this.keys.get(peer) ?? []
  }
}

function listening() {
  const kernel = new Kernel()
  return { kernel, required: new RequiredOptions(kernel.sockets as Sockets, 3) }
}

/** Connections that were there before the key are refused in the turn of the change, and the one after it. */
async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await turn()
}

test('a listening socket has the keys that are asked for, after every change of them', async t => {
  const { kernel, required } = listening()
  const steps = [
    { tcpAo: [key(1)] },
    { tcpAo: [key(2), key(1)] },
    { tcpAo: [key(2)] },
    { tcpAo: [key(2, 'another secret')] },
    { password: 'md5' },
    { tcpAo: [key(1), key(3)] },
    { ttl: 1 },
    undefined,
  ]
  for (const wanted of steps) {
    required.set(PEER, wanted)
    const ids = (keys: readonly TcpAoKey[] = []) => keys.map(({ sendId, secret }) => `${sendId} ${secret}`).sort()
    t.deepEqual(ids(kernel.keys.get(PEER)), ids(wanted !== undefined && 'tcpAo' in wanted ? wanted.tcpAo : []))
    t.is(kernel.md5.get(PEER), wanted !== undefined && 'password' in wanted ? wanted.password : undefined)
    await settled()
    t.deepEqual(required.of(PEER), wanted ?? {})
  }
})

test('a key that the kernel took before it refused the next one goes with the next change', async t => {
  for (const before of [undefined, { password: 'md5' }, { tcpAo: [key(7)] }]) {
    for (const after of [undefined, { password: 'md5' }, { tcpAo: [key(3)] }]) {
      const { kernel, required } = listening()
      required.set(PEER, before)
      kernel.refusedId = 2
      for (let i = 0; i < 2; i++) t.throws(() => required.set(PEER, { tcpAo: [key(1), key(2)] }))
      t.throws(() => required.set(PEER, { tcpAo: [key(4), key(2)] }))
      required.set(PEER, after)
      t.deepEqual(kernel.keys.get(PEER) ?? [], after?.tcpAo ?? [])
      t.is(kernel.md5.get(PEER), after?.password)
    }
  }
})

for (const wanted of [{ password: 'md5' }, { tcpAo: [key(1), key(2)] }])
  test(`nothing is taken from a peer whose ${Object.keys(wanted)} the kernel refused, until it takes them`, async t => {
    const { kernel, required } = listening()
    required.set(PEER, { ttl: 1 })
    kernel.refuses = true
    for (let i = 0; i < 2; i++) {
      t.throws(() => required.set(PEER, wanted), { message: 'EKEYREJECTED' })
      await settled()
      t.is(required.of(PEER), 'refused')
      t.deepEqual(required.of('192.0.2.2'), {})
    }
    kernel.refuses = false
    required.set(PEER, wanted)
    await settled()
    t.deepEqual(required.of(PEER), wanted)
    kernel.refuses = true
    required.set(PEER, undefined)
    t.deepEqual(required.of(PEER), {})
  })

test('keys of a range hold for its addresses, those of an address for it alone', async t => {
  const { required } = listening()
  const [range, one] = [{ tcpAo: [key(1)] }, { tcpAo: [key(2)] }]
  required.set('192.0.2.0/24', range)
  required.set(PEER, one)
  t.is(required.of('192.0.2.9'), 'refused')
  await settled()
  t.deepEqual(required.of('192.0.2.9'), range)
  t.deepEqual(required.of(PEER), one)
})
