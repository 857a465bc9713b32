// TCP-AO (RFC 5925): with BIRD 3 and between two margay-bgp where the kernel has it (Linux 6.7 with CONFIG_TCP_AO, which Debian's
// kernels are built without), and what is said where it has none.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { addTcpAoKey, closeSocket, KernelError, openTcp } from '../../kernel/sockopt.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { programUnderTest } from '../program-file.ts'
import { bird3 } from './daemons.ts'
import { Margay, makeLink, neighbors, OURS, type TestLink, THEIRS, until, type Wanted } from './interop.ts'

const KEYS = [
  { sendId: 1, receiveId: 2, algorithm: 'hmac-sha1', secret: 'the first' },
  { sendId: 3, receiveId: 4, algorithm: 'aes-128-cmac', secret: 'the second' },
] as const
type Key = (typeof KEYS)[number]

const hasTcpAo = (() => {
  const fd = openTcp('ipv4')
  try {
    addTcpAoKey(fd, OURS.ipv4, KEYS[0], true)
    return true
  } catch (error) {
    if (error instanceof KernelError) return false
    throw error
  } finally {
    closeSocket(fd)
  }
})()

const signed = isRoot && hasTcpAo ? test.serial : test.serial.skip
const besideBird = isRoot && hasTcpAo && existsSync(bird3.program) ? test.serial : test.serial.skip
const unsigned = isRoot && !hasTcpAo ? test.serial : test.serial.skip
if (!isRoot || !hasTcpAo)
  test('TCP-AO with peers is not tested here', t => {
    t.log(isRoot ? 'skipped: this kernel has no TCP-AO' : 'skipped: needs root')
    t.pass()
  })

const WANTED: Wanted = { asn: 65002, peerAsn: 65001, holdSeconds: 90, ipv4: ['10.2.0.0/24'], ipv6: ['2001:db8:b::/64'] }

/** What BIRD says of a key: its ids are ours the other way round. */
function birdKey({ sendId, receiveId, algorithm, secret }: Key): string {
  const named = algorithm === 'hmac-sha1' ? 'hmac sha1' : 'cmac aes128'
  return `key { send id ${receiveId}; recv id ${sendId}; algorithm ${named}; secret "${secret}"; };`
}

function runBird(link: TestLink, keys: readonly Key[], wanted: Partial<Wanted> = {}) {
  const session = () => (keys.length === 0 ? '' : `authentication ao; keys { ${keys.map(birdKey).join(' ')} };`)
  return link.run('theirs', { name: 'bird', ...bird3.prepare(link, { ...WANTED, lines: { session }, ...wanted }) })
}

const established = async (margay: Margay) => (await margay.peers()).every(({ state }) => state === 'Established')

for (const passive of [true, false])
  for (const keys of [[KEYS[0]], [KEYS[1]], KEYS])
    besideBird(
      `a session with BIRD 3 comes up where ${passive ? 'we dial' : 'it dials'}, in both families, with ${keys.map(({ algorithm }) => algorithm).join(' and ')}`,
      async t => {
        await using link = makeLink()
        const margay = new Margay(link, { neighbors: neighbors(WANTED, { tcpAo: keys, passive: !passive }) })
        runBird(link, keys, { passive })
        await until(
          'both sessions are up',
          () => established(margay),
          () => `${margay.program.output()}\n${bird3.sessions(link)}`,
        )
        t.is((await margay.peers()).length, 2)
        t.regex(bird3.sessions(link), /Current key|TCP-AO/i)
      },
    )

besideBird(
  'a peer without keys, or with another secret, has no session, and the reason says what to compare',
  async t => {
    for (const keys of [[], [{ ...KEYS[0], secret: 'another' } as unknown as Key]]) {
      await using link = makeLink()
      const margay = new Margay(link, { neighbors: neighbors(WANTED, { tcpAo: [KEYS[0]] }) })
      runBird(link, keys)
      await until(
        'an attempt of each family has ended',
        async () => (await margay.peers()).every(({ reason }) => reason?.code === 'signature-suspected'),
        () => margay.program.output(),
      )
      t.deepEqual(
        (await margay.peers()).map(({ flaps, state }) => [flaps, state === 'Established']),
        [
          [0, false],
          [0, false],
        ],
      )
    }
  },
)

signed(
  'keys change at one end after the other without a flap, and a reload says beforehand what ends the session',
  async t => {
    await using link = makeLink()
    const open = { import: 'accept', export: 'accept', connectRetry: 1 }
    const both = (keys: readonly Key[]) =>
      keys.map(({ sendId, receiveId, ...same }) => ({ ...same, sendId: receiveId, receiveId: sendId }))
    const ours = (keys: readonly object[]) => ({
      neighbors: [{ address: THEIRS.ipv4, asn: 65002, tcpAo: keys, ...open }],
    })
    const theirs = (keys: readonly Key[]) => ({
      ...{ asn: 65002, routerId: THEIRS.ipv4, listen: [`${THEIRS.ipv4}:179`] },
      neighbors: [{ address: OURS.ipv4, asn: 65001, tcpAo: both(keys), passive: true, ...open }],
    })
    const margay = new Margay(link, ours([KEYS[0]]))
    const config = join(link.folder, 'other.yaml')
    writeFileSync(config, JSON.stringify(theirs([KEYS[0]])))
    const args = [programUnderTest('agent/margay-bgp'), '--config', config]
    const second = link.run('theirs', { name: 'other', command: process.execPath, args })
    const up = () =>
      until(
        'the session is up',
        () => established(margay),
        () => `${margay.program.output()}${second.output()}`,
      )
    await up()
    const heard = async () => {
      const { messages } = (await margay.peers())[0]!
      await margay.clear(THEIRS.ipv4, 'soft-in')
      await until(
        'messages pass',
        async () => (await margay.peers())[0]!.messages.in > messages.in,
        second.output.bind(second),
      )
    }
    const reloaded = async (keys: readonly Key[]) => {
      const lines = second.output().split('\n').length
      writeFileSync(config, JSON.stringify(theirs(keys)))
      second.signal('SIGHUP')
      await until(
        'the other end has read it',
        () => second.output().split('\n').length > lines,
        () => second.output(),
      )
    }
    const resets = async (keys: readonly object[]) => {
      margay.write(ours(keys))
      return JSON.stringify((await margay.plan())['resets'])
    }
    // the new key at both ends, first in the list; then the old one goes
    for (const keys of [[KEYS[1], KEYS[0]], [KEYS[1]]]) {
      t.is(await resets(keys), '[]')
      await margay.reload(ours(keys))
      await heard()
      await reloaded(keys)
      await heard()
      if (keys.length === 2) t.regex(await resets([KEYS[1], { ...KEYS[0], secret: 'other' }]), /ids of another one/)
    }
    t.is((await margay.peers())[0]?.flaps, 0)
    t.regex(await resets([{ ...KEYS[1], secret: 'other' }]), /no key of before is left/)
    // what begins anew begins with the new key
    await margay.clear(THEIRS.ipv4, 'hard')
    await until(
      'it ended',
      async () => (await margay.peers())[0]?.flaps === 1,
      () => margay.program.output(),
    )
    await up()
  },
)

unsigned(
  'without TCP-AO in the kernel there is no session, not an unsigned one either, and the reason says so',
  async t => {
    await using link = makeLink()
    const ours = { ...neighbors(WANTED)[0], tcpAo: [KEYS[0]] }
    const margay = new Margay(link, { neighbors: [ours] })
    const config = join(link.folder, 'other.yaml')
    const theirs = { address: OURS.ipv4, asn: 65001, import: 'accept', export: 'accept', connectRetry: 1 }
    writeFileSync(config, JSON.stringify({ asn: 65002, routerId: THEIRS.ipv4, neighbors: [theirs] }))
    const args = [programUnderTest('agent/margay-bgp'), '--config', config]
    // before it, nobody listens, and that is what the other end is told
    await until(
      'ours listens',
      async () => margay.program.output().includes('"msg":"running"'),
      () => margay.program.output(),
    )
    const second = link.run('theirs', { name: 'other', command: process.execPath, args })
    await until(
      'their attempt was reset',
      () => /"reason":"(reset|closed)"/.test(second.output()),
      () => second.output(),
    )
    await until(
      'ours has ended',
      async () => (await margay.peers())[0]?.reason?.code === 'not-signed',
      () => margay.program.output(),
    )
    t.regex((await margay.peers())[0]!.reason!.detail, /TCP_AO_ADD_KEY 192\.0\.2\.2/)
    t.regex(margay.program.output(), /no connection from there is taken/)
    t.is((await margay.peers())[0]?.flaps, 0)
  },
)
