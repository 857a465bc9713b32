// BFD on real sockets: what they tell of a packet, what they send with, and the thread that they are at work in. Two
// namespaces with a link between them. What is promised in time is shown in time moved by hand (`model.test.ts`): here
// packets are counted.
import test, { type ExecutionContext } from 'ava'
import type { BfdChange, BfdSessionConfig, BfdSessionStatus } from '../../../bgp/bfd/config.ts'
import { BfdError } from '../../../bgp/bfd/error.ts'
import { emitPacket } from '../../../bgp/bfd/packet.ts'
import type { BfdThread } from '../../../bgp/bfd/thread.ts'
import { openReceiver, openSender } from '../../../kernel/datagrams.ts'
import {
  bindSocket,
  closeDescriptor,
  interfaceIndex,
  interfaceName,
  openSocket,
  receiveFrom,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
} from '../../../kernel/libc.ts'
import { runInNetns } from '../../../kernel/netns.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import { setTtl, socketAddress } from '../../../kernel/sockopt.ts'
import { type Family, formatAddress } from '../../../lib/ip.ts'
import { isRoot } from '../../kernel/scratch-netns.ts'
import { makeLink, OURS, type TestLink, THEIRS, until } from '../interop.ts'
import { aPacket } from './packets.ts'
import { linkLocalOf, passable, started } from './thread.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('BFD on real sockets is tested by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** What arrived, as text and numbers that stay. */
type Seen = { text: string; source: string; destination: string; ttl: number; link: string | undefined }

/** Listens at their end. */
function listenThere(t: ExecutionContext, { theirs }: TestLink, family: Family, port: number) {
  const seen: Seen[] = []
  const receiver = runInNetns(theirs.path, () =>
    openReceiver(family, port, ({ bytes, source, destination, ttl, interfaceIndex: index }) =>
      seen.push({
        text: Buffer.from(bytes).toString(),
        source: formatAddress(source),
        destination: formatAddress(destination),
        ttl,
        link: runInNetns(theirs.path, () => interfaceName(index)),
      }),
    ),
  )
  t.teardown(() => receiver.close())
  return { seen, receiver }
}

/** Sends one datagram from our end with any TTL. The socket stays: what waits for a neighbour's address is lost with it. */
function sendWith(
  t: ExecutionContext,
  { ours }: TestLink,
  family: Family,
  port: number,
  ttl: number,
  data: Uint8Array,
) {
  const fd = runInNetns(ours.path, () => openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.datagram, 0, 'test'))
  t.teardown(() => closeDescriptor(fd))
  setTtl(fd, family, ttl)
  sendTo(fd, Buffer.from(data), socketAddress(THEIRS[family], port), THEIRS[family])
}

for (const family of ['ipv4', 'ipv6'] as const) {
  netns(`${family}: of each datagram its TTL, both addresses and its link are told`, async t => {
    await using link = await passable(makeLink())
    const { seen } = listenThere(t, link, family, 3784)
    for (const ttl of [255, 254, 1]) sendWith(t, link, family, 3784, ttl, Buffer.from(`${ttl}`))
    await until('three datagrams', () => seen.length === 3)
    const ends = { source: OURS[family], destination: THEIRS[family], link: 'e0' }
    t.deepEqual(
      seen,
      [255, 254, 1].map(ttl => ({ text: `${ttl}`, ttl, ...ends })),
    )
  })

  netns(
    `${family}: what is sent has a TTL of 255, our address, and a source port of 49152-65535 that stays`,
    async t => {
      await using link = await passable(makeLink())
      const fd = runInNetns(link.theirs.path, () => openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.datagram, 0, 'test'))
      t.teardown(() => closeDescriptor(fd))
      bindSocket(fd, socketAddress(THEIRS[family], 3784), 'test')
      const ports = new Set<number>()
      for (let i = 0; i < 20; i++) {
        const sender = runInNetns(link.ours.path, () =>
          openSender({ local: OURS[family], peer: THEIRS[family], port: 3784, interface: 'e0' }),
        )
        const from = [0, 1].map(() => {
          sender.send(Buffer.from('x'))
          return portOf(fd)
        })
        sender.close()
        const [first, second] = await Promise.all(from)
        t.is(first, second)
        ports.add(first!)
      }
      t.true([...ports].every(port => port >= 49152 && port <= 65535))
      t.true(ports.size > 10)
      const { seen } = listenThere(t, link, family, 4784)
      const far = runInNetns(link.ours.path, () =>
        openSender({ local: OURS[family], peer: THEIRS[family], port: 4784 }),
      )
      t.teardown(() => far.close())
      far.send(Buffer.from('y'))
      await until('a datagram', () => seen.length === 1)
      t.like(seen[0], { text: 'y', ttl: 255, source: OURS[family] })
    },
  )

  netns(`${family}: what waits is delivered when it is asked for, without a turn of the event loop`, async t => {
    await using link = await passable(makeLink())
    const { seen, receiver } = listenThere(t, link, family, 3784)
    sendWith(t, link, family, 3784, 255, Buffer.from('first'))
    // neighbours are found in turns
    await until('the first datagram', () => seen.length === 1)
    for (let i = 0; i < 300; i++) sendWith(t, link, family, 3784, 255, Buffer.from('more'))
    receiver.drain()
    t.is(seen.length, 301)
  })
}

/** The source port of the next datagram. */
async function portOf(fd: number): Promise<number> {
  const from = Buffer.alloc(28)
  await until('a datagram', () => {
    try {
      return receiveFrom(fd, Buffer.alloc(8), from, 'test') > 0
    } catch (error) {
      if (error instanceof KernelError && error.errno === ERRNO.EAGAIN) return false
      throw error
    }
  })
  return from.readUInt16BE(2)
}

netns('what the kernel refuses is told with its errno, and no socket stays open', async t => {
  await using link = await passable(makeLink())
  const refused = (open: () => unknown) =>
    t.throws(() => runInNetns(link.theirs.path, open), { instanceOf: KernelError })?.code
  const { receiver } = listenThere(t, link, 'ipv4', 3784)
  t.is(
    refused(() => openReceiver('ipv4', 3784, () => undefined)),
    'EADDRINUSE',
  )
  t.is(
    refused(() => openSender({ local: '203.0.113.1', peer: OURS.ipv4, port: 3784 })),
    'EADDRNOTAVAIL',
  )
  t.is(
    refused(() => openSender({ local: THEIRS.ipv4, peer: OURS.ipv4, port: 3784, interface: 'none' })),
    'ENODEV',
  )
  receiver.drain()
  t.is(
    runInNetns(link.theirs.path, () => interfaceName(interfaceIndex('e0'))),
    'e0',
  )
  t.is(
    runInNetns(link.theirs.path, () => interfaceName(9999)),
    undefined,
  )
})

/** The session of a thread by its name. */
async function session(thread: BfdThread, name: string): Promise<BfdSessionStatus> {
  const { sessions } = await thread.status()
  const found = sessions.find(each => each.name === name)
  if (found === undefined) throw new Error(`no session ${name}`)
  return found
}

const isUp = async (thread: BfdThread, name: string) => (await session(thread, name)).state === 'Up'

netns('two threads bring up sessions of each kind, and say so', async t => {
  await using link = await passable(makeLink())
  const [a, b] = [started(t, link.ours), started(t, link.theirs)]
  const keys = [{ id: 1, secret: 'sesame' }]
  const kinds: Record<string, Partial<BfdSessionConfig>> = {
    'single hop': {},
    'over the link by name': { interface: 'e0' },
    multihop: { multihop: { minTtl: 255 } },
    sha1: { authentication: { type: 'sha1', keys } },
    'meticulous sha1': { authentication: { type: 'meticulous-sha1', keys } },
    passive: { passive: true },
  }
  const told: BfdChange[] = []
  a.onChange(change => told.push(change))
  for (const [kind, more] of Object.entries(kinds))
    for (const family of ['ipv4', 'ipv6'] as const) {
      const name = `${kind} ${family}`
      a.setSession(name, { local: OURS[family], peer: THEIRS[family], ...more })
      b.setSession(name, { local: THEIRS[family], peer: OURS[family], ...more, passive: false })
      await until(`${name} is Up`, async () => (await isUp(a, name)) && (await isUp(b, name)))
      t.true(told.some(change => change.name === name && change.to === 'Up'))
      // every path is of one session
      a.removeSession(name)
      b.removeSession(name)
    }
  t.deepEqual((await a.status()).sessions, [])
})

netns('over link-local addresses a session comes up, whose interface has to be named', async t => {
  await using link = await passable(makeLink())
  const [a, b] = [started(t, link.ours), started(t, link.theirs)]
  const local = (path: string) => runInNetns(path, () => linkLocalOf('e0'))
  const [ours, theirs] = [local(link.ours.path), local(link.theirs.path)]
  t.throws(() => a.setSession('s', { local: ours, peer: theirs }), {
    instanceOf: BfdError,
    message: /name the interface/,
  })
  a.setSession('s', { local: ours, peer: theirs, interface: 'e0' })
  b.setSession('s', { local: theirs, peer: ours, interface: 'e0' })
  await until('both are Up', async () => (await isUp(a, 's')) && (await isUp(b, 's')))
  t.pass()
})

netns('a packet from further away than the session allows is dropped', async t => {
  await using link = await passable(makeLink())
  const b = started(t, link.theirs)
  b.setSession('near', { local: THEIRS.ipv4, peer: OURS.ipv4, passive: true })
  b.setSession('far', { local: THEIRS.ipv4, peer: OURS.ipv4, passive: true, multihop: { minTtl: 253 } })
  // the thread listens when it answers
  await b.status()
  const first = emitPacket(aPacket({ state: 'Down', yourDiscriminator: 0 }))
  sendWith(t, link, 'ipv4', 3784, 254, first)
  sendWith(t, link, 'ipv4', 4784, 252, first)
  await until('both are dropped', async () => {
    const { sessions, dropped } = await b.status()
    return dropped['low-ttl'] === 1 && sessions[1]?.dropped['low-ttl'] === 1
  })
  sendWith(t, link, 'ipv4', 3784, 255, first)
  sendWith(t, link, 'ipv4', 4784, 253, first)
  await until('both are taken', async () => (await b.status()).sessions.every(({ received }) => received === 1))
  t.pass()
})

netns('a session whose address or port is not to be had comes up when it is', async t => {
  await using link = await passable(makeLink())
  const holder = runInNetns(link.ours.path, () => openReceiver('ipv4', 3784, () => undefined))
  const [a, b] = [started(t, link.ours), started(t, link.theirs)]
  a.setSession('s', { local: OURS.ipv4, peer: THEIRS.ipv4 })
  b.setSession('s', { local: THEIRS.ipv4, peer: OURS.ipv4 })
  b.setSession('absent', { local: '203.0.113.1', peer: OURS.ipv4 })
  await until('the fault is told', async () => /EADDRINUSE/.test((await session(a, 's')).fault ?? ''))
  t.regex((await session(b, 'absent')).fault ?? '', /EADDRNOTAVAIL/)
  holder.close()
  await until('both are Up', async () => (await isUp(a, 's')) && (await isUp(b, 's')))
  t.is((await session(a, 's')).fault, undefined)
})

netns('while the thread of the speaker is busy, packets go on', async t => {
  await using link = await passable(makeLink())
  const [a, b] = [started(t, link.ours), started(t, link.theirs)]
  const fast = { desiredMinTxMs: 50, requiredMinRxMs: 50 }
  a.setSession('s', { local: OURS.ipv4, peer: THEIRS.ipv4, ...fast })
  b.setSession('s', { local: THEIRS.ipv4, peer: OURS.ipv4, ...fast })
  await until('both are Up', async () => (await isUp(a, 's')) && (await isUp(b, 's')))
  const before = await session(a, 's')
  const untilMs = performance.now() + 2000
  while (performance.now() < untilMs);
  const after = await session(a, 's')
  // of 40 to 53 each way, on a machine that is busy itself
  t.true(after.sent - before.sent >= 8, `${after.sent - before.sent} were sent`)
  t.true(after.received - before.received >= 8, `${after.received - before.received} were received`)
})

netns('what is wrong with a session is said at once, and after the end every call is refused', async t => {
  await using link = await passable(makeLink())
  const a = started(t, link.ours)
  const good = { local: OURS.ipv4, peer: THEIRS.ipv4 }
  a.setSession('s', good)
  const refused = t.throws(() => a.setSession('other', good), { instanceOf: BfdError })
  t.like(refused, { code: 'bad-session', message: 'session other: session s has the same path' })
  a.setSession('s', { ...good, multiplier: 5 })
  a.disable('s')
  t.is((await session(a, 's')).state, 'AdminDown')
  a.enable('s')
  t.is((await session(a, 's')).state, 'Down')
  await Promise.all([a.close(), a.close()])
  t.throws(() => a.setSession('s', good), { instanceOf: BfdError, message: /closed/ })
  await t.throwsAsync(a.status(), { instanceOf: BfdError })
})
