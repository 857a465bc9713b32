import test from 'ava'
import { CAPABILITIES } from '../../cni/capabilities.ts'
import { CniError } from '../../cni/error.ts'
import { type AddRequest, type DelRequest, type GcRequest, parseRequest } from '../../cni/request.ts'

const ENV = { CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' }
const CONF = { cniVersion: '1.0.0', name: 'net', type: 'margay' }

function request(
  command: string,
  conf: unknown = CONF,
  env: Record<string, string> = {},
): ReturnType<typeof parseRequest> {
  const stdin = typeof conf === 'string' ? conf : JSON.stringify(conf)
  return parseRequest({ env: { CNI_COMMAND: command, ...ENV, ...env }, stdin })
}

function refused(command: string, conf?: unknown, env?: Record<string, string>): CniError {
  try {
    request(command, conf, env)
  } catch (error) {
    if (error instanceof CniError) return error
    throw error
  }
  throw new Error('it was taken')
}

test('an unknown or lower-case command is code 4', t => {
  for (const command of ['add', 'NOPE', '', 'constructor', '__proto__']) t.is(refused(command).code, 4)
  t.is(parseRequest({ env: { CNI_COMMAND: 'VERSION' }, stdin: '' }).verb, 'VERSION')
})

test('all variables that are missing are named at once', t => {
  const none = { CNI_CONTAINERID: '', CNI_NETNS: '', CNI_IFNAME: '' }
  for (const verb of ['ADD', 'CHECK'])
    t.is(refused(verb, CONF, none).message, 'required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing')
  t.is(refused('DEL', CONF, none).message, 'required env variables [CNI_CONTAINERID,CNI_IFNAME] missing')
  t.is(refused('GC', CONF, { CNI_PATH: '' }).message, 'required env variables [CNI_PATH] missing')
})

for (const [name, env] of [
  ['a container id with a slash', { CNI_CONTAINERID: 'a/b' }],
  ['a container id that begins with a dash', { CNI_CONTAINERID: '-a' }],
  ['an interface name of 16 bytes', { CNI_IFNAME: 'e234567890123456' }],
  ['an interface name of 8 characters in 16 bytes', { CNI_IFNAME: 'éééééééé' }],
  ['the interface name ..', { CNI_IFNAME: '..' }],
  ['an interface name with a colon', { CNI_IFNAME: 'eth0:1' }],
  ['an interface name with a blank', { CNI_IFNAME: 'e th0' }],
  ['a container id of 254 characters', { CNI_CONTAINERID: 'a'.repeat(254) }],
  ['a relative path of a namespace', { CNI_NETNS: 'netns/x' }],
  ['a path of a namespace with a zero octet', { CNI_NETNS: '/run/netns/x\0' }],
  ['an argument without =', { CNI_ARGS: 'IgnoreUnknown' }],
] as const)
  test(`${name} is code 4`, t => {
    t.is(refused('ADD', CONF, env).code, 4)
  })

test('a network name that is missing, malformed or too long is code 7', t => {
  for (const name of [undefined, '', 'a b', '.a', 7, 'a'.repeat(254)]) t.is(refused('ADD', { ...CONF, name }).code, 7)
})

test('an unsupported version is code 1, and the details name it and the supported ones', t => {
  const { code, details } = refused('ADD', { ...CONF, cniVersion: '2.0.0' })
  t.is(code, 1)
  t.regex(details, /"2\.0\.0".*"0\.1\.0".*"1\.1\.0"/)
})

test('an absent version is 0.1.0', t => {
  t.is((request('ADD', { name: 'net' }) as AddRequest).conf.cniVersion, '0.1.0')
})

test('CHECK needs 0.4.0 and a prevResult, GC and STATUS need 1.1.0', t => {
  t.is(
    refused('CHECK', { ...CONF, cniVersion: '0.3.1', prevResult: {} }).message,
    'config version does not allow CHECK',
  )
  t.is(refused('CHECK').code, 7)
  for (const verb of ['GC', 'STATUS']) t.is(refused(verb).code, 1)
})

test('keys are found without regard to case, as Go decoders find them', t => {
  const { conf } = request('ADD', {
    CNIVersion: '0.4.0',
    NAME: 'net',
    Mtu: 1400,
    IPAM: { Assign_IPv6: true },
  }) as AddRequest
  t.like(conf, { cniVersion: '0.4.0', name: 'net', mtu: 1400, families: ['ipv4', 'ipv6'] })
})

test('pools are named for each family; an empty list names none', t => {
  const pools = (ipam: object) => (request('ADD', { ...CONF, ipam }) as AddRequest).conf.pools
  t.deepEqual(pools({ ipv4_pools: ['a', '10.0.0.0/16'], ipv6_pools: ['six'] }), {
    ipv4: ['a', '10.0.0.0/16'],
    ipv6: ['six'],
  })
  t.deepEqual(pools({ ipv4_pools: ['a'], ipv6_pools: [] }), { ipv4: ['a'], ipv6: undefined })
  for (const ipam of [{ ipv4_pools: 'a' }, { ipv6_pools: [''] }, { ipv6_pools: [7] }])
    t.is(refused('ADD', { ...CONF, ipam }).code, 2)
})

test('assign_ipv4 and assign_ipv6 are true, false, or "auto" for the families of the pools, and one of them is wanted', t => {
  const families = (ipam: object) => {
    const { conf } = request('ADD', { ...CONF, ipam }) as AddRequest
    return [conf.families, conf.ifServed]
  }
  t.deepEqual(families({}), [['ipv4'], []])
  t.deepEqual(families({ assign_ipv4: null, assign_ipv6: 'true' }), [['ipv4', 'ipv6'], []])
  t.deepEqual(families({ assign_ipv4: 'false', assign_ipv6: true }), [['ipv6'], []])
  t.deepEqual(families({ assign_ipv4: 'auto', assign_ipv6: 'auto' }), [[], ['ipv4', 'ipv6']])
  t.deepEqual(families({ assign_ipv6: 'auto' }), [['ipv4'], ['ipv6']])
  for (const ipam of [{ assign_ipv4: false }, { assign_ipv4: 'yes' }, { assign_ipv6: ['auto'] }])
    t.is(refused('ADD', { ...CONF, ipam }).code, 2)
})

test('what containerd sends is accepted: capitalised runtimeConfig, null lists, unordered arguments', t => {
  const runtimeConfig = {
    dns: { Servers: null, Searches: null, Options: null },
    portMappings: [],
    bandwidth: { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 },
    ipRanges: null,
    'io.kubernetes.cri.pod-annotations': { a: 'b' },
  }
  const CNI_ARGS =
    'K8S_POD_UID=u;IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=default;K8S_POD_INFRA_CONTAINER_ID=x'
  const { pod } = request('ADD', { ...CONF, runtimeConfig, capabilities: { dns: true } }, { CNI_ARGS }) as AddRequest
  t.deepEqual(pod, { namespace: 'default', name: 'web', uid: 'u' })
})

test('a pod name longer than any of Kubernetes, or an environment of a megabyte, leaves the container known by its id', t => {
  const CNI_ARGS = `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${'x'.repeat(1 << 20)}`
  t.is((request('ADD', CONF, { CNI_ARGS }) as AddRequest).pod, undefined)
})

test('what podman sends is accepted: an address and a MAC as arguments', t => {
  const CNI_ARGS = 'IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:5E:10:00:01;IP=10.0.0.7'
  const { conf, pod } = request('ADD', CONF, { CNI_ARGS }) as AddRequest
  t.like(conf, { addresses: ['10.0.0.7'], mac: '02:00:5e:10:00:01' })
  t.is(pod, undefined)
})

test('one address of each family is taken from the first place that names any: the capability, args, CNI_ARGS', t => {
  const addresses = (more: object, CNI_ARGS = '') =>
    (request('ADD', { ...CONF, ...more }, { CNI_ARGS }) as AddRequest).conf.addresses
  const [capability, args] = [{ runtimeConfig: { ips: ['10.0.0.1'] } }, { args: { cni: { ips: ['10.0.0.2/24'] } } }]
  t.deepEqual(addresses({ ...capability, ...args }, 'IP=10.0.0.3'), ['10.0.0.1'])
  t.deepEqual(addresses({ runtimeConfig: { ips: [] }, ...args }, 'IP=10.0.0.3'), ['10.0.0.2'])
  t.deepEqual(addresses({ runtimeConfig: { ips: null } }, 'IP=10.0.0.3/32,FD00::3/64'), ['10.0.0.3', 'fd00::3'])
  t.deepEqual(addresses({ runtimeConfig: { Ips: ['fd00:0::1', '10.0.0.1/8'] } }), ['fd00::1', '10.0.0.1'])
  t.is(addresses({}, 'IP='), undefined)
})

test('two addresses of one family, half a prefix length or no list of addresses are code 2', t => {
  for (const ips of [['10.0.0.1', '10.0.0.2'], ['10.0.0.1/33'], ['10.0.0.1/'], [7], ['10.0.0.0/8/9'], '10.0.0.1', {}]) {
    const error = refused('ADD', { ...CONF, runtimeConfig: { ips } })
    t.is(error.code, 2, JSON.stringify(ips))
    t.regex(error.message, /ips/)
  }
  t.regex(refused('ADD', { ...CONF, runtimeConfig: { ips: ['fd00::1', 'fd00::2'] } }).details, /one address of each/)
})

test('a capability that is another plugin’s, or that nobody here acts on, is refused with what to do instead, on ADD alone', t => {
  const rows: Record<string, unknown> = {
    ipRanges: [[{ subnet: '10.1.2.0/24' }]],
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
    bandwidth: { ingressRate: 2048, ingressBurst: 1600, egressRate: 0, egressBurst: 0 },
    infinibandGUID: 'c2:11:22:33:44:55:66:77',
    deviceID: '0000:04:00.5',
    aliases: ['primary-db'],
  }
  const refusing = Object.entries(CAPABILITIES).filter(([, capability]) => 'instead' in capability)
  t.deepEqual(Object.keys(rows).toSorted(), refusing.map(([name]) => name).toSorted())
  for (const [name, value] of Object.entries(rows)) {
    const conf = { ...CONF, runtimeConfig: { [name]: value } }
    const error = refused('ADD', conf)
    t.is(error.code, 2)
    t.true(error.message.includes(`runtimeConfig.${name}`), error.message)
    t.regex(error.details, /must be absent(: .+| here: the plugin (portmap|bandwidth) does that, behind ours)/)
    for (const verb of ['CHECK', 'DEL'] as const) t.is(request(verb, { ...conf, prevResult: {} }).verb, verb)
  }
  t.regex(refused('ADD', { ...CONF, runtimeConfig: { ipRanges: rows['ipRanges'] } }).details, /ipv4_pools/)
})

test('CHECK of a pod looks at no field that ADD judged, so that a stricter version finds no fault with pods that run', t => {
  const config = { ...CONF, mtu: 'x', ipam: 7, runtimeConfig: 1, args: [], dns: 7, prevResult: {} }
  t.is(request('CHECK', config).verb, 'CHECK')
})

test('the capability dns goes before the dns of the configuration, and that before the one of the plugins before', t => {
  const dns = (more: object) => (request('ADD', { ...CONF, ...more }) as AddRequest).conf.dns
  const own = { nameservers: ['10.0.0.53'], domain: 'c.local', search: ['c.local'] }
  const runtime = { servers: ['10.96.0.10'], searches: [], options: ['ndots:5'] }
  t.deepEqual(dns({ dns: own, runtimeConfig: { dns: runtime } }), {
    ...own,
    ...{ nameservers: ['10.96.0.10'], options: ['ndots:5'] },
  })
  const prevResult = { dns: { nameservers: ['192.0.2.53'], domain: 'before' } }
  t.deepEqual(dns({ prevResult, runtimeConfig: { dns: { Servers: ['10.96.0.10'] } } }), {
    ...{ nameservers: ['10.96.0.10'], domain: 'before' },
  })
  t.is(dns({ prevResult, runtimeConfig: { dns: { servers: null, searches: [], options: null } } }), undefined)
  t.is(refused('ADD', { ...CONF, runtimeConfig: { dns: { servers: 'x' } } }).code, 2)
})

test('a multicast MAC and a malformed address are code 2, and the error names them', t => {
  for (const CNI_ARGS of ['MAC=01:00:5e:10:00:01', 'IP=10.0.0.256']) {
    const { code, message } = refused('ADD', CONF, { CNI_ARGS })
    t.is(code, 2)
    t.true(message.includes(CNI_ARGS.split('=')[1]!))
  }
})

test('DEL accepts an empty namespace, no prevResult, and other fields that ADD would refuse', t => {
  const config = { ...CONF, mtu: 'x', ipam: 7, prevResult: 'broken', runtimeConfig: 1 }
  const { netns } = request('DEL', config, { CNI_NETNS: '', CNI_ARGS: 'broken' }) as DelRequest
  t.is(netns, undefined)
})

test('a malformed prevResult is code 6, and the error names the field', t => {
  for (const prevResult of [
    [],
    { ips: {} },
    { ips: [{ address: '10.0.0.1' }] },
    { ips: [{ address: '10.0.0.1/32', interface: 3 }] },
    { interfaces: [{}] },
  ]) {
    const { code, message } = refused('ADD', { ...CONF, prevResult })
    t.is(code, 6)
    t.regex(message, /prevResult/)
  }
})

test('a prevResult in the format of 0.1.0 is read', t => {
  const prevResult = { ip4: { ip: '10.0.0.1/24', routes: [{ dst: '0.0.0.0/0' }] } }
  const { conf } = request('ADD', { ...CONF, cniVersion: '0.2.0', prevResult }) as AddRequest
  t.deepEqual(conf.prevResult?.ips, [{ address: '10.0.0.1/24' }])
})

test('GC accepts a list, also an empty one, and refuses a request without one', t => {
  const conf = { ...CONF, cniVersion: '1.1.0' }
  const key = 'cni.dev/valid-attachments'
  t.deepEqual((request('GC', { ...conf, [key]: [] }) as GcRequest).valid, [])
  t.deepEqual((request('GC', { ...conf, [key]: [{ containerID: 'a', ifname: 'b' }] }) as GcRequest).valid.length, 1)
  t.deepEqual((request('GC', { ...conf, [key]: null }) as GcRequest).valid, [])
  t.is(refused('GC', conf).code, 7)
  t.is(refused('GC', { ...conf, [key]: [{}] }).code, 2)
})

test('a dns that a runtime could not read is code 2, and the error names it', t => {
  for (const [dns, key] of [
    [{ nameservers: 'x' }, 'dns.nameservers'],
    [{ search: [1] }, 'dns.search'],
    [{ domain: 5 }, 'dns.domain'],
  ] as const) {
    const error = refused('ADD', { ...CONF, dns })
    t.is(error.code, 2)
    t.true(error.message.includes(key), error.message)
  }
  const { conf } = request('ADD', { ...CONF, dns: { nameservers: ['10.0.0.53'], domain: 'c.local' } }) as AddRequest
  t.deepEqual(conf.dns, { nameservers: ['10.0.0.53'], domain: 'c.local' })
})

test('a range beside our own addresses is refused with what to do instead, and does not hold DEL back', t => {
  for (const ipam of [
    { subnet: '10.1.0.0/16' },
    { type: 'calico-ipam', ranges: [[{ subnet: '10.1.0.0/16' }]] },
    { type: 'margay', addresses: [{ address: '10.1.0.1/24' }] },
  ]) {
    const error = refused('ADD', { ...CONF, ipam })
    t.is(error.code, 2)
    t.regex(error.message, /ipam\.(subnet|ranges|addresses)/)
    t.regex(error.details, /IPPool/)
    t.is(request('DEL', { ...CONF, ipam }).verb, 'DEL')
  }
  for (const type of ['', 'margay', 'calico-ipam'])
    t.is(request('ADD', { ...CONF, ipam: { type, assign_ipv4: 'true' } }).verb, 'ADD')
})

test('another plugin for addresses is known to every verb, and what is said to it is not looked at', t => {
  const ipam = { type: 'host-local', ranges: [[{ subnet: 'usePodCidr' }]], assign_ipv4: 7 }
  const more = { runtimeConfig: { ipRanges: [[{ subnet: '10.1.0.0/24' }]], ips: ['10.1.0.5', '10.1.0.6'].slice(0, 1) } }
  for (const verb of ['ADD', 'DEL', 'STATUS'])
    t.like(request(verb, { ...CONF, cniVersion: '1.1.0', ipam, ...more }), {
      conf: { delegate: 'host-local', usesPodCidr: ['ipv4'], addresses: undefined },
    })
  for (const type of ['dhcp', '../x', 'a b', '.x', 7]) {
    t.is(refused('ADD', { ...CONF, ipam: { type } }).code, 2)
    t.is(request('DEL', { ...CONF, ipam: { type } }).verb, 'DEL')
  }
})
