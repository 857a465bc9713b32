import test from 'ava'
import { HostWays } from '../../felix/host-ways.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { LookedUp, Route, RouteType } from '../../kernel/port/routes.ts'

const OWN = new Map([
  ['192.0.2.1', [1]],
  ['fd00:2::1', [1]],
  ['fe80::3', [3]],
  ['fe80::5', [2, 3]],
])
const ANY = ['eth0', '*']
const LINKS = ['lo', 'eth0', 'eth1'].map((name, i) => ({ name, index: i + 1 }))

/** `routes`: by address, and ` from ` one of this host's where it has an own one, the type and interface; what is not there is out of reach. */
function aKernel(routes: Record<string, [RouteType, number?]>, asked: string[] = []) {
  return {
    links: async () => LINKS,
    lookupRoute: async (dst: string, { source }: LookedUp = {}) => {
      const question = source === undefined ? dst : `${dst} from ${source}`
      asked.push(question)
      const found = routes[question] ?? routes[dst]
      if (found === undefined) throw new KernelError(ERRNO.ENETUNREACH, 'look up route', dst)
      const [type, ifindex] = found
      return { type, ...(ifindex !== undefined && { ifindex }) } as Route
    },
  } as Pick<Kernel, 'links' | 'lookupRoute'>
}

/** By the routes of now. */
async function waysOf(flows: readonly { source: string; destination: string }[], kernel: ReturnType<typeof aKernel>) {
  const ways = new HostWays(kernel, OWN, ANY)
  for (const flow of flows) ways.of(flow)
  await ways.look()
  return flows.map(flow => ways.of(flow)!)
}

const textOf = (ways: readonly { from: string | undefined; to: string | undefined }[]) =>
  ways.map(({ from = 'host', to = 'host' }) => `${from} > ${to}`)
const ends = (source: string, destination: string) => ({ source, destination })

test('a connection comes and leaves by what leads to its ends, and each end is asked for once, for each address of the host', async t => {
  const asked: string[] = []
  const kernel = aKernel(
    { '10.0.0.1': ['unicast', 2], '10.0.0.2': ['unicast', 3], '192.0.2.255': ['broadcast', 2] },
    asked,
  )
  const flows = [
    ends('10.0.0.1', '10.0.0.2'),
    ends('10.0.0.2', '192.0.2.1'),
    ends('192.0.2.1', '10.0.0.1'),
    ends('10.0.0.1', '192.0.2.255'),
    ends('192.0.2.1', '192.0.2.255'),
    ends('127.0.0.1', '192.0.2.1'),
  ]
  const ways = await waysOf(flows, kernel)
  t.deepEqual(ways.map(textOf), [
    ['eth0 > eth1'],
    ['eth1 > host'],
    ['host > eth0'],
    ['eth0 > host'],
    ['host > eth0'],
    ['host > host'],
  ])
  t.deepEqual(asked, [
    ...['10.0.0.1', '10.0.0.2', '10.0.0.2 from 192.0.2.1'],
    ...['10.0.0.1 from 192.0.2.1', '192.0.2.255', '192.0.2.255 from 192.0.2.1'],
  ])
})

test('a link-local connection goes by the interface that has its address of this host, where one alone has it', async t => {
  const flows = [
    ends('fe80::9', 'fe80::3'),
    ends('fe80::3', 'fe80::9'),
    ends('fe80::9', 'fe80::5'),
    ends('fd00:2::1', 'fe80::9'),
  ]
  t.deepEqual((await waysOf(flows, aKernel({}))).map(textOf), [
    ['eth1 > host'],
    ['host > eth1'],
    ['eth0 > host', '* > host'],
    ['host > eth0', 'host > *'],
  ])
})

test('where rules choose an uplink by the address of the host, a connection goes by that of its own address', async t => {
  const kernel = aKernel({ '10.0.0.1': ['unicast', 2], '10.0.0.1 from 192.0.2.1': ['unicast', 3] })
  const flows = [ends('10.0.0.1', '192.0.2.1'), ends('192.0.2.1', '10.0.0.1'), ends('127.0.0.1', '10.0.0.1')]
  t.deepEqual((await waysOf(flows, kernel)).map(textOf), [['eth1 > host'], ['host > eth1'], ['host > eth0']])
})

test('an end that is out of reach, has several ways or is of no one network may be behind any interface', async t => {
  const kernel = aKernel({ '10.0.0.1': ['unicast', 2], '10.0.0.3': ['unicast'] })
  const flows = [ends('10.0.0.9', '192.0.2.1'), ends('10.0.0.1', '10.0.0.3'), ends('fe80::9', 'fd00:2::1')]
  t.deepEqual((await waysOf(flows, kernel)).map(textOf), [
    ['eth0 > host', '* > host'],
    ['eth0 > eth0', 'eth0 > *', 'eth0 > host'],
    ['eth0 > host', '* > host'],
  ])
})

test('the ways that are found are among those that were thought possible, as far as they are asked', async t => {
  const kernel = aKernel({ '10.0.0.1': ['unicast', 2], '192.0.2.255': ['broadcast', 2] })
  for (const flow of [
    ends('10.0.0.1', '10.0.0.1'),
    ends('10.0.0.1', '192.0.2.1'),
    ends('10.0.0.1', '192.0.2.255'),
    ends('fd00:2::1', '10.0.0.1'),
  ]) {
    const possible = new Set(textOf(new HostWays(kernel, OWN, ANY).possible(flow)))
    t.true(textOf((await waysOf([flow], kernel))[0]!).every(way => possible.has(way)))
  }
  t.deepEqual(new HostWays(kernel, OWN, ANY).possible(ends('127.0.0.1', '192.0.2.1')), [])
})

test('of more addresses than are kept those beyond may be behind any interface, and no walk asks for all at once', async t => {
  const asked: string[] = []
  const kernel = {
    ...aKernel({}),
    lookupRoute: async (dst: string) => {
      asked.push(dst)
      return { type: 'unicast', ifindex: 3 } as Route
    },
  }
  const ways = new HostWays(kernel, OWN, ANY)
  const flow = (i: number) => ends(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, '192.0.2.1')
  let walks = 0
  for (let isUnknown = true; isUnknown; walks++) {
    isUnknown = false
    for (let i = 0; i < 140_000; i++) if (ways.of(flow(i)) === undefined) isUnknown = true
    const before = asked.length
    await ways.look()
    t.true(asked.length - before <= 32_768)
  }
  t.is(walks, 5)
  t.is(asked.length, 131_072)
  t.deepEqual(
    [0, 139_999].map(i => textOf(ways.of(flow(i))!)),
    [['eth1 > host'], ['eth0 > host', '* > host']],
  )
})

test('where answers of the kernel were lost a walk fails and is made again, and nothing is taken for behind any interface', async t => {
  const lost = new KernelError(ERRNO.ENOBUFS, 'wait for', 'netlink', 'answers were lost')
  const ways = new HostWays({ ...aKernel({}), lookupRoute: () => Promise.reject(lost) }, OWN, ANY)
  ways.of(ends('10.0.0.1', '192.0.2.1'))
  t.is(await t.throwsAsync(ways.look()), lost)
})
