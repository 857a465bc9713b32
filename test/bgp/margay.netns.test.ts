// Two `margay-bgp` against each other, for what needs a kernel but nobody else's daemon.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { programUnderTest } from '../program-file.ts'
import { Margay, makeLink, OURS, type TestLink, THEIRS, until } from './interop.ts'

const when = isRoot ? test.serial : test.serial.skip
if (!isRoot)
  test('two margay-bgp are not tested here', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** The second speaker, in their namespace. */
function other(link: TestLink, config: Record<string, unknown>) {
  const path = join(link.folder, 'other.yaml')
  writeFileSync(path, JSON.stringify({ asn: 65002, routerId: THEIRS.ipv4, ...config }))
  const program = programUnderTest('agent/margay-bgp')
  return link.run('theirs', { name: 'other', command: process.execPath, args: [program, '--config', path] })
}

const open = { import: 'accept', export: 'accept', connectRetry: 1 }
const established = async (margay: Margay) => (await margay.peers()).every(({ state }) => state === 'Established')

when('unnumbered neighbours find each other by interface and carry IPv4 over IPv6 next hops', async t => {
  await using link = makeLink()
  for (const { name } of [link.ours, link.theirs])
    execFileSync(systemProgram('ip'), ['-n', name, 'addr', 'flush', 'dev', 'e0', 'scope', 'global'])
  const unnumbered = { interface: 'e0', asn: 'external', extendedNextHop: true, ...open }
  const listen = ['[::]:179']
  const margay = new Margay(link, { listen, kernel: { table: 254 }, neighbors: [unnumbered] })
  const second = other(link, { listen, neighbors: [unnumbered], networks: ['10.2.0.0/24', '2001:db8:b::/64'] })
  const why = () => `${margay.program.output()}\n${second.output()}`
  await until('the session is up', async () => (await margay.peers()).length === 1 && established(margay), why)
  const [peer] = await margay.peers()
  t.regex(peer?.address ?? '', /^fe80::.*%e0$/)
  await until(
    'the IPv4 route is chosen',
    async () => (await margay.route('10.2.0.0/24')).candidates.some(c => c.best),
    why,
  )
  const inKernel = () =>
    execFileSync(systemProgram('ip'), ['-n', link.ours.name, '-6', 'route', 'show', 'proto', '179'], {
      encoding: 'utf8',
    })
  await until('the IPv6 route is in the kernel', () => /2001:db8:b::\/64 via fe80::\S+ dev e0/.test(inKernel()), why)
})

when('GTSM lets a neighbour in and keeps out whoever sends with a smaller TTL', async t => {
  await using link = makeLink()
  const theirs = (more: Record<string, unknown>) => ({ address: '192.0.2.1', asn: 65001, ...open, ...more })
  const ours = { address: '192.0.2.2', asn: 65002, passive: true, ttlSecurity: 1, ...open }
  const margay = new Margay(link, { neighbors: [ours] })
  const near = other(link, { neighbors: [theirs({ ttlSecurity: 1 })] })
  await until(
    'the session is up',
    () => established(margay),
    () => near.output(),
  )
  await near.stop()
  const far = other(link, { neighbors: [theirs({ multihop: 64 })] })
  // its SYN may pass, as a listener has no neighbour yet, but nothing that follows is heard
  await until(
    'the far one has tried',
    async () => (await margay.peers())[0]?.state === 'OpenSent' || far.output().includes('does not answer'),
    () => far.output(),
  )
  t.false(await established(margay))
})

for (const [family, prefix] of [
  ['ipv4', '192.0.2.0/24'],
  ['ipv6', '2001:db8:1::/64'],
] as const)
  when(
    `dynamic neighbours of a range need the password of the range, also on the listening socket: ${family}`,
    async t => {
      await using link = makeLink()
      const range = { name: 'rack', range: prefix, asn: 'external', password: 'correct', ...open }
      const margay = new Margay(link, { neighbors: [range] })
      const neighbor = { address: OURS[family], asn: 65001, ...open }
      const wrong = other(link, { neighbors: [{ ...neighbor, password: 'wrong' }] })
      await until(
        'the wrong password is suspected',
        () => wrong.output().includes('signature-suspected'),
        () => wrong.output(),
      )
      t.deepEqual(await margay.peers(), [])
      await wrong.stop('SIGKILL')
      const right = other(link, { neighbors: [{ ...neighbor, password: 'correct' }] })
      const name = `rack:${THEIRS[family]}`
      await until(
        'the right one is in',
        async () => (await margay.peers()).some(peer => peer.name === name && peer.state === 'Established'),
        () => right.output(),
      )
    },
  )

when(
  'a password changes on one side and seconds later on the other without a flap, and a reload says beforehand what it resets',
  async t => {
    await using link = makeLink()
    const ours = { address: '192.0.2.2', asn: 65002, password: 'one', ...open }
    const theirs = { address: '192.0.2.1', asn: 65001, password: 'one', passive: true, ...open }
    const top = { networks: ['10.1.0.0/24'] }
    const margay = new Margay(link, { ...top, neighbors: [ours] })
    const config = join(link.folder, 'other.yaml')
    const second = other(link, { listen: ['192.0.2.2:179'], neighbors: [theirs] })
    await until(
      'the session is up',
      () => established(margay),
      () => second.output(),
    )
    const text = {
      asn: 65002,
      routerId: THEIRS.ipv4,
      listen: ['192.0.2.2:179'],
      neighbors: [{ ...theirs, password: 'two' }],
    }
    const answer = await margay.reload({ ...top, neighbors: [{ ...ours, password: 'two' }] })
    t.deepEqual(answer['resets'], [])
    const sent = (await margay.peers())[0]!.messages.in
    await margay.clear('192.0.2.2', 'soft-in')
    // segments of the other key are dropped meanwhile, and sent again
    await new Promise(resolve => setTimeout(resolve, 2000))
    writeFileSync(config, JSON.stringify(text))
    second.signal('SIGHUP')
    await until(
      'messages pass with the new key',
      async () => (await margay.peers())[0]!.messages.in > sent,
      () => second.output(),
    )
    t.is((await margay.peers())[0]?.flaps, 0)
    margay.write({ ...top, neighbors: [{ ...ours, password: 'two', families: ['ipv4-unicast', 'ipv6-unicast'] }] })
    const plan = await margay.plan()
    t.deepEqual(
      (plan['resets'] as { peer: string }[]).map(({ peer }) => peer),
      ['192.0.2.2'],
    )
    t.is((await margay.peers())[0]?.flaps, 0)
  },
)
