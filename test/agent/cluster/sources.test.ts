// Which sources beside its addresses the annotation of a Pod asks for, and what of it cannot be read.
import test from 'ava'
import { podSources } from '../../../agent/cluster/sources.ts'

const NAME = 'cni.projectcalico.org/allowedSourcePrefixes'
const read = (text: string) =>
  podSources({ metadata: { name: 'gw', namespace: 'net', annotations: { [NAME]: text } }, spec: {} } as never)

test('a pod without the annotation, or with an empty one, asks for no source', t => {
  t.deepEqual(podSources({ metadata: { name: 'gw' }, spec: {} } as never), {})
  for (const text of ['', ' ', '[]']) t.deepEqual(read(text), {})
})

test('CIDRs and addresses of both families are read, in canonical text, each once', t => {
  t.deepEqual(
    read('["10.1.0.0/16", "10.1.2.0/24", "192.0.2.7", "192.0.2.7/32", "2001:DB8:0::/64", "2001:db8:1::5"]').cidrs,
    ['10.1.0.0/16', '10.1.2.0/24', '192.0.2.7/32', '2001:db8::/64', '2001:db8:1::5/128'],
  )
  t.deepEqual(read('["0.0.0.0/0", "::/0"]').cidrs, ['0.0.0.0/0', '::/0'])
  const many = Array.from({ length: 64 }, (_, i) => `10.${i}.0.0/24`)
  t.deepEqual(read(JSON.stringify(many)).cidrs, many)
})

for (const [text, why] of [
  ['10.1.0.0/16', /"?10\.1\.0\.0\/16"? is no JSON/],
  ['{"a": 1}', /is no list/],
  ['"10.1.0.0/16"', /is no list/],
  ['null', /is no list/],
  ['["10.1.0.0/16", "all"]', /"all" is no CIDR/],
  ['["10.1.0.0/33"]', /is no CIDR/],
  ['["10.1.0.0/-1"]', /is no CIDR/],
  ['["fe80::1%eth0"]', /is no CIDR/],
  ['[["10.1.0.0/16"]]', /a list is no CIDR/],
  ['[null]', /null is no CIDR/],
  ['[16909060]', /16909060 is no CIDR/],
  ['[""]', /is no CIDR/],
  ['[{"toString": 1}]', /an object is no CIDR/],
  [`[ ${'['.repeat(8000)}${']'.repeat(8000)}]`, /a list is no CIDR/],
  [`[${'{"a":['.repeat(1600)}${']}'.repeat(1600)}]`, /an object is no CIDR/],
  ['["10.1.2.3/16"]', /10\.1\.2\.3\/16 has bits behind its length/],
  ['["2001:db8::1/64"]', /has bits behind its length/],
  ['["127.0.0.0/8"]', /is no source of packets that pass/],
  ['["::1"]', /is no source of packets that pass/],
  ['["ff02::/16"]', /is no source of packets that pass/],
  ['["239.1.1.1"]', /is no source of packets that pass/],
  ['["255.255.255.255"]', /is no source of packets that pass/],
  ['["::"]', /is no source of packets that pass/],
  ['["fe80::/64"]', /is no source of packets that pass/],
  ['["::ffff:0:0/96"]', /is no source of packets that pass/],
  ['["::ffff:198.51.100.9"]', /is no source of packets that pass/],
  [JSON.stringify(Array.from({ length: 65 }, (_, i) => `10.${i}.0.0/24`)), /names 65 CIDRs/],
  [`[${' '.repeat(20_000)}]`, /more than 16384 characters/],
  ['['.repeat(16_000), /is no JSON/],
] as const)
  test(`nothing counts of ${text.slice(0, 40)}, and pod, cause and remedy are told`, t => {
    const { cidrs, told } = read(text)
    t.is(cidrs, undefined)
    t.like(told, { type: 'SourcesAllowed', reason: 'Invalid', object: { kind: 'Pod', namespace: 'net', name: 'gw' } })
    t.regex(told!.message, why)
    t.true(told!.message.length < 300, told!.message)
    t.regex(told!.remedy, /write a list of up to 64 CIDRs in JSON/)
  })

test('what a Namespace says counts for its Pods that say nothing, and is told of the Namespace where it cannot be read', t => {
  const of = (own: string | undefined, ofNamespace: string) =>
    podSources(
      {
        metadata: { name: 'gw', namespace: 'net', ...(own !== undefined && { annotations: { [NAME]: own } }) },
      } as never,
      { metadata: { name: 'net', annotations: { [NAME]: ofNamespace } } } as never,
    )
  for (const none of [undefined, '', ' ']) t.deepEqual(of(none, '["192.0.2.7"]'), { cidrs: ['192.0.2.7/32'] })
  t.deepEqual(of('["192.0.2.8"]', '["192.0.2.7"]'), { cidrs: ['192.0.2.8/32'] })
  t.deepEqual(of('[]', '["192.0.2.7"]'), {}, 'the Pod says that it has none')
  t.deepEqual(of('["192.0.2.8"]', 'everything'), { cidrs: ['192.0.2.8/32'] })
  const { cidrs, told } = of(undefined, 'everything')
  t.is(cidrs, undefined)
  t.like(told, { type: 'SourcesAllowed', reason: 'Invalid', object: { kind: 'Namespace', name: 'net' } })
})
