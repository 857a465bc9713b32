// What the annotations of a Pod and its Namespace make of a configuration, and what of them cannot be read.
import test from 'ava'
import { CniError } from '../../cni/error.ts'
import { handleCni } from '../../cni/handle.ts'
import { type PodAnnotations, withAnnotations } from '../../cni/pod-annotations.ts'
import type { NetConf } from '../../cni/request.ts'
import { aHost, POD as PATH } from './host.ts'

const CONF: NetConf = {
  ...{ cniVersion: '1.1.0', name: 'net', families: ['ipv4'], ifServed: ['ipv6'] },
  ...{ pools: { ipv4: ['of-conf'] }, mac: '02:00:00:00:00:01' },
}
const POD = { namespace: 'shop', name: 'db-0' }
const named = (texts: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [`cni.projectcalico.org/${name}`, text]))

function asked(pod: Record<string, string>, namespace: Record<string, string> = {}, conf = CONF): NetConf {
  const said: PodAnnotations = { pod: named(pod), namespace: named(namespace) }
  return withAnnotations(conf, POD, said)
}

function refusal(pod: Record<string, string>, namespace: Record<string, string> = {}): CniError {
  try {
    asked(pod, namespace)
  } catch (error) {
    if (error instanceof CniError) return error
    throw error
  }
  throw new Error('nothing is refused')
}

test('without annotations, and with empty ones, the configuration counts', t => {
  const empty: Record<string, string> = { ipv4pools: '', ipFamilies: '', ipAddrs: '', hwAddr: '', ipAddrsNoIpam: '' }
  for (const none of [{}, empty]) t.like(asked(none, none), { ...CONF, pools: { ipv4: ['of-conf'], ipv6: undefined } })
})

test('pools and families of the Pod come before those of its Namespace, and these before the configuration', t => {
  const namespace = { ipv4pools: '["of-ns"]', ipv6pools: '["fd00::/48"]', ipFamilies: '["IPv6"]' }
  const byNamespace = asked({}, namespace)
  t.like(byNamespace, { pools: { ipv4: ['of-ns'], ipv6: ['fd00::/48'] }, families: ['ipv6'], ifServed: [] })
  const byPod = asked({ ipv4pools: '["a", "b"]', ipFamilies: '["IPv6","IPv4"]' }, namespace)
  t.like(byPod, { pools: { ipv4: ['a', 'b'], ipv6: ['fd00::/48'] }, families: ['ipv4', 'ipv6'], ifServed: [] })
  t.deepEqual(asked({ ipv4pools: '[]' }, namespace).pools?.ipv4, undefined, 'any, whatever the Namespace says')
  t.deepEqual(asked({}, { ipv4pools: '[]' }).pools?.ipv4, undefined)
  t.deepEqual(asked({ ipFamilies: '["ipv4"]' }).families, ['ipv4'], 'as people write it')
})

test('addresses by name come before families and pools of both and before the runtime, and count for the Pod alone', t => {
  const others = { ipv4pools: '["of-ns"]', ipFamilies: '["IPv4"]' }
  const conf = { ...CONF, addresses: ['10.9.9.9'] }
  const named = asked({ ipAddrs: '["FD00:0::7", "10.0.0.7"]', ...others }, others, conf)
  t.like(named, { addresses: ['fd00::7', '10.0.0.7'], families: ['ipv6', 'ipv4'], ifServed: [], pools: undefined })
  t.deepEqual(asked({}, { ipAddrs: '["10.0.0.7"]' }, conf).addresses, ['10.9.9.9'])
})

test('a MAC of the Pod comes before that of the runtime, and that of a Namespace is none', t => {
  t.is(asked({ hwAddr: '02:AA:00:00:00:07' }).mac, '02:aa:00:00:00:07')
  t.is(asked({ hwAddr: '02-AA-00-00-00-07' }).mac, '02:aa:00:00:00:07')
  t.is(asked({}, { hwAddr: '02:aa:00:00:00:07' }).mac, CONF.mac)
})

const WRONG: readonly [name: string, text: string, said: RegExp][] = [
  ['ipv4pools', 'pool-a', /"pool-a" is no JSON/],
  ['ipv4pools', '"pool-a"', /is no list of texts/],
  ['ipv4pools', '[7]', /is no list of texts/],
  ['ipv4pools', '["a", ""]', /names "", which is no name or CIDR/],
  ['ipv4pools', `["${'a'.repeat(100_000)}"]`, /names "a{60}", which is no name or CIDR/],
  ['ipv6pools', '["a\\u001b[2J"]', /names "a\\u001b\[2J", which is no name or CIDR/],
  ['ipv6pools', JSON.stringify(Array.from({ length: 65 }, (_, i) => `p${i}`)), /names 65/],
  ['ipFamilies', '[]', /names no family/],
  ['ipFamilies', '["IPv4", "IPv5"]', /names "IPv5"/],
  ['ipFamilies', '["constructor"]', /names "constructor"/],
  ['ipAddrs', '[]', /names no address/],
  ['ipAddrs', '["10.0.0.7/24"]', /names "10\.0\.0\.7\/24", which is no address/],
  ['ipAddrs', '["10.0.0.7", "10.0.0.8"]', /two addresses of one family/],
  ['ipAddrs', '["fe80::1%eth0"]', /which is no address/],
  ['ipAddrsNoIpam', '["192.0.2.7"]', /is not done here/],
  ['hwAddr', '01:00:5e:00:00:01', /is no unicast MAC address/],
  ['hwAddr', '00:00:00:00:00:00', /is no unicast MAC address/],
  ['hwAddr', 'EE-EE-EE-EE-EE-EE', /is no unicast MAC address/],
  ['hwAddr', 'ff:ff:ff:ff:ff:ff', /is no unicast MAC address/],
  ['hwAddr', '02:00:5e-10:00:01', /is no unicast MAC address/],
  ['hwAddr', '02:00:5e:10:00', /is no unicast MAC address/],
]
for (const [name, text, said] of WRONG)
  test(`${name}=${text.slice(0, 30)} refuses ADD with Pod, annotation, cause and remedy`, t => {
    const { code, message, details } = refusal({ [name]: text })
    t.is(code, 2)
    t.true(message.startsWith(`Pod shop/db-0: annotation cni.projectcalico.org/${name}: `), message)
    t.regex(message, said)
    t.true(message.length < 250, message)
    t.regex(details, /or take the annotation away/)
  })

test('a value of the Namespace that cannot be read names the Namespace, and counts not for a Pod that has its own', t => {
  t.regex(
    refusal({}, { ipv4pools: 'a' }).message,
    /^Namespace shop: annotation cni\.projectcalico\.org\/ipv4pools: "a"/,
  )
  t.deepEqual(asked({ ipv4pools: '["b"]' }, { ipv4pools: 'a' }).pools?.ipv4, ['b'])
})

test('a pod that nothing is known of is refused with what is missing, before anything is made, and asked for again', async t => {
  const host = await aHost()
  host.world.addNetns(PATH)
  const say: { now: () => Promise<PodAnnotations> } = {
    now: () => Promise.reject(new Error('the API server has told nothing of Pod shop/db-0 yet')),
  }
  const deps = { ...host.deps, annotations: () => say.now() }
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: PATH, CNI_IFNAME: 'eth0' },
    CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=db-0',
  }
  const add = () => handleCni({ env, stdin: '{"cniVersion":"1.1.0","name":"net"}' }, deps)
  const refused = JSON.parse((await add()).stdout)
  t.like(refused, { code: 11, msg: 'pod shop/db-0 is refused: the API server has told nothing of Pod shop/db-0 yet' })
  t.regex(refused.details, /ApiServerConnected/)
  t.deepEqual([host.deps.endpoints.all(), host.allocator.held().size], [[], 0])
  say.now = async () => ({ pod: named({ ipAddrs: '["10.0.0.9"]' }), namespace: {} })
  t.is(JSON.parse((await add()).stdout).ips[0].address, '10.0.0.9/32')
})
