// Results of every version: what comes in as prevResult goes out, whole, and ours stands behind it.
import test from 'ava'
import * as fc from 'fast-check'
import { CniError } from '../../cni/error.ts'
import { atLeast, CNI_VERSIONS, type CniResult, emitResult, parseResult } from '../../cni/result.ts'
import { added, aHost, call, POD } from './host.ts'

type Json = Record<string, unknown>

const NOTHING: CniResult = { interfaces: [], ips: [], routes: [] }
const OURS: CniResult = {
  interfaces: [
    { name: 'cali1', mac: 'ee:ee:ee:ee:ee:ee', mtu: 1450 },
    { name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1450, sandbox: '/run/netns/x' },
  ],
  ips: [
    { address: '10.9.9.9/32', gateway: '169.254.1.1', interface: 1 },
    { address: 'fd00::9/128', gateway: 'fe80::ecee:eeff:feee:eeee', interface: 1 },
  ],
  routes: [
    { dst: '0.0.0.0/0', gw: '169.254.1.1', priority: 1025 },
    { dst: '::/0', gw: 'fe80::ecee:eeff:feee:eeee', priority: 1025 },
  ],
}

const count = fc.nat({ max: 65_535 })
const v4 = fc.ipV4().chain(address => fc.nat({ max: 32 }).map(length => `${address}/${length}`))
const v6 = fc.ipV6().chain(address => fc.nat({ max: 128 }).map(length => `${address}/${length}`))
const some = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }, always: (keyof T)[]): fc.Arbitrary<Json> =>
  fc.record(model, { requiredKeys: always }) as fc.Arbitrary<Json>
const texts = fc.array(fc.string(), { maxLength: 2 })
const dns = some({ nameservers: texts, domain: fc.string(), search: texts, options: texts }, [])

/** A route with what the version has; another program may have put fields of its own into it. */
const routeOf = (version: string, dst: fc.Arbitrary<string>): fc.Arbitrary<Json> =>
  some(
    {
      ...{ dst, gw: fc.oneof(fc.ipV4(), fc.ipV6()), 'vendor.example/x': fc.jsonValue() },
      ...(version === '1.1.0' && { mtu: count, advmss: count, priority: count, table: count, scope: count }),
    },
    ['dst'],
  )

/** Results in the format of 0.1.0 and 0.2.0. */
function oldResult(version: string): fc.Arbitrary<Json> {
  const entry = (ip: fc.Arbitrary<string>): fc.Arbitrary<Json> =>
    some({ ip, gateway: fc.ipV4(), routes: fc.array(routeOf(version, ip), { maxLength: 3 }) }, ['ip', 'routes'])
  return some({ ip4: entry(v4), ip6: entry(v6), dns }, ['dns'])
}

/** Results in the format of 0.3.0 and later. */
function newResult(version: string): fc.Arbitrary<Json> {
  const newest = version === '1.1.0' && { mtu: count, socketPath: fc.string(), pciID: fc.string() }
  const each = some({ name: fc.string(), mac: fc.string(), sandbox: fc.string(), ...newest }, ['name'])
  return fc.array(each, { minLength: 1, maxLength: 3 }).chain(interfaces => {
    const ip = fc.oneof(v4, v6).chain(address =>
      some(
        {
          ...{ address: fc.constant(address), gateway: fc.oneof(fc.ipV4(), fc.ipV6()) },
          interface: fc.nat({ max: interfaces.length - 1 }),
          ...(!atLeast(version, '1.0.0') && { version: fc.constant(address.includes(':') ? '6' : '4') }),
        },
        ['address'],
      ),
    )
    return some(
      {
        ...{ interfaces: fc.constant(interfaces), ips: fc.array(ip, { maxLength: 3 }) },
        ...{ routes: fc.array(routeOf(version, fc.oneof(v4, v6)), { maxLength: 3 }), dns },
        'vendor.example/y': fc.jsonValue(),
      },
      ['interfaces', 'ips', 'routes', 'dns'],
    )
  })
}

const resultsOf = (version: string): fc.Arbitrary<Json> =>
  atLeast(version, '0.3.0') ? newResult(version) : oldResult(version)

const plain = (value: unknown): Json => JSON.parse(JSON.stringify(value))

for (const version of CNI_VERSIONS) {
  test(`cniVersion ${version}: a prevResult with every field that the version has, and others, goes out as it came`, t => {
    fc.assert(
      fc.property(resultsOf(version), given => {
        const prevResult = plain({ ...given, cniVersion: version })
        const emitted = emitResult(NOTHING, version, parseResult(prevResult, version))
        t.deepEqual(JSON.parse(emitted), prevResult)
      }),
      { numRuns: 300 },
    )
  })

  test(`cniVersion ${version}: ours stands behind a prevResult, which stays as it was, and is read as it was written`, t => {
    fc.assert(
      fc.property(resultsOf(version), given => {
        const before = plain({ ...given, cniVersion: version })
        const told = JSON.parse(emitResult(OURS, version, parseResult(before, version)))
        t.deepEqual(JSON.parse(emitResult(NOTHING, version, parseResult(told, version))), told)
        if (!atLeast(version, '0.3.0')) {
          for (const key of ['ip4', 'ip6'] as const) {
            const [was, is] = [before[key] as Json | undefined, told[key]]
            if (was === undefined) t.is(is.routes.length, 1)
            else t.deepEqual({ ...is, routes: is.routes.slice(0, -1) }, was)
          }
          return
        }
        for (const key of ['interfaces', 'ips', 'routes'] as const) {
          const was = before[key] as Json[]
          t.deepEqual(told[key].slice(0, was.length), was)
          t.is(told[key].length, was.length + 2)
        }
        t.is(told.interfaces[told.ips.at(-1).interface].name, 'eth0')
        t.is(told.interfaces.at(-1).mtu, version === '1.1.0' ? 1450 : undefined)
        t.is(told.routes.at(-1).priority, version === '1.1.0' ? 1025 : undefined)
        t.is(told.ips.at(-1).version, atLeast(version, '1.0.0') ? undefined : '6')
      }),
      { numRuns: 300 },
    )
  })
}

test('a field of a prevResult that has another type is code 6, and the error names it', t => {
  const rows: [string, Json][] = [
    ['prevResult.interfaces[0].socketPath', { interfaces: [{ name: 'a', socketPath: 1 }] }],
    ['prevResult.interfaces[0].mtu', { interfaces: [{ name: 'a', mtu: '1500' }] }],
    ['prevResult.interfaces[0].mac', { interfaces: [{ name: 'a', mac: [] }] }],
    ['prevResult.ips[0].gateway', { ips: [{ address: '10.0.0.1/32', gateway: 1 }] }],
    ['prevResult.routes[1].dst', { routes: [{ dst: '10.0.0.0/8' }, { dst: '10.0.0.1' }] }],
    ['prevResult.routes[0].table', { routes: [{ dst: '10.0.0.0/8', table: 'main' }] }],
    ['prevResult.routes[0].scope', { routes: [{ dst: '10.0.0.0/8', scope: -1 }] }],
    ['prevResult.routes[0].advmss', { routes: [{ dst: '10.0.0.0/8', advmss: 1.5 }] }],
    ['prevResult.dns', { dns: 'x' }],
  ]
  for (const [where, prevResult] of rows) {
    const error = t.throws(() => parseResult(prevResult, '1.1.0'), { instanceOf: CniError })
    t.is(error.code, 6)
    t.true(error.message.startsWith(`${where} must be`), error.message)
  }
})

test('fields that are null are absent, as Go reads them', t => {
  const prevResult = { interfaces: [{ name: 'a', mac: null, mtu: null }], ips: null, routes: null, dns: null }
  const told = JSON.parse(emitResult(OURS, '1.1.0', parseResult(prevResult, '1.1.0')))
  t.deepEqual(told.interfaces[0], prevResult.interfaces[0])
  t.deepEqual([told.ips.length, told.routes.length, told.dns], [2, 2, {}])
})

test('ADD behind another plugin gives the whole of its result on, and CHECK and DEL take it', async t => {
  const prevResult = {
    interfaces: [{ name: 'vhost0', mtu: 9000, socketPath: '/run/vhost.sock', pciID: '0000:04:00.5', sandbox: POD }],
    ips: [{ address: '192.0.2.7/24', gateway: '192.0.2.1', interface: 0 }],
    routes: [{ dst: '198.51.100.0/24', gw: '192.0.2.1', mtu: 1400, advmss: 1360, priority: 7, table: 100, scope: 0 }],
    dns: { nameservers: ['192.0.2.53'] },
  }
  const host = await aHost()
  const told = (await added(host, 'c1', POD, { prevResult })) as unknown as typeof prevResult
  t.deepEqual(told.interfaces[0], prevResult.interfaces[0])
  t.deepEqual(told.ips[0], prevResult.ips[0])
  t.deepEqual(told.routes[0], prevResult.routes[0])
  t.deepEqual(told.dns, prevResult.dns)
  t.is((await call(host, 'CHECK', { conf: { prevResult: told } })).stdout, '')
  t.deepEqual(await call(host, 'DEL', { conf: { prevResult: told } }), { exitCode: 0, stdout: '' })
})
