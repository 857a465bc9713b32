// What annotations of a Pod ask of its packets, and what of them makes no sense.
import test from 'ava'
import { podQos } from '../../../agent/cluster/qos.ts'

function read(annotations: Record<string, string>) {
  const { qos, told } = podQos({ metadata: { name: 'web', namespace: 'shop', annotations }, spec: {} } as never)
  return { qos, reason: told?.reason, message: told?.message, remedy: told?.remedy, object: told?.object }
}

const NAMES = 'qos.projectcalico.org'

test('a pod without such annotations asks for nothing', t => {
  t.deepEqual(podQos({ metadata: { name: 'web' }, spec: {} } as never), {})
})

test('rates have a burst of five packets where none is said, and numbers are quantities of Kubernetes', t => {
  const { qos, reason } = read({
    [`${NAMES}/ingressPacketRate`]: '100',
    [`${NAMES}/egressPacketRate`]: '1.5k',
    [`${NAMES}/egressPacketBurst`]: '1Ki',
    [`${NAMES}/egressMaxConnections`]: '1200m',
    [`${NAMES}/ingressMaxConnections`]: '2e3',
    [`${NAMES}/dscp`]: 'af11',
  })
  t.is(reason, undefined)
  t.deepEqual(qos, {
    ingress: { rate: { perSecond: 100, burst: 5 }, connections: 2000 },
    egress: { rate: { perSecond: 1500, burst: 1024 }, connections: 2 },
    dscp: 10,
  })
})

for (const [text, dscp] of [
  ['0', 0],
  ['63', 63],
  ['EF', 46],
  ['DF', 0],
  ['cs6', 48],
  ['64', undefined],
  ['-1', undefined],
  ['constructor', undefined],
  ['', undefined],
] as const)
  test(`the DSCP ${JSON.stringify(text)} is ${dscp}`, t => {
    const { qos, reason } = read({ [`${NAMES}/dscp`]: text })
    t.deepEqual([qos?.dscp, reason], [dscp, dscp === undefined ? 'Invalid' : undefined])
  })

test('what is more than can be had is the most that can, what makes no sense is left out, and both name pod and annotation', t => {
  const { qos, reason, message, remedy, object } = read({
    [`${NAMES}/ingressPacketRate`]: '20k',
    [`${NAMES}/egressPacketRate`]: 'fast',
    [`${NAMES}/ingressPacketBurst`]: '0',
    [`${NAMES}/egressPacketBurst`]: '10',
    [`${NAMES}/egressMaxConnections`]: '-5',
    [`${NAMES}/ingressMaxConnections`]: '9'.repeat(1000),
  })
  t.deepEqual(qos, { ingress: { rate: { perSecond: 10_000, burst: 5 } } })
  t.is(reason, 'Invalid')
  t.deepEqual(object, { kind: 'Pod', namespace: 'shop', name: 'web' })
  t.is(
    message,
    [
      'qos.projectcalico.org/ingressPacketRate: "20k" is more than 10000, which holds',
      'qos.projectcalico.org/ingressPacketBurst: "0" is no quantity from 1 to 10000, and is left out',
      `qos.projectcalico.org/ingressMaxConnections: "${'9'.repeat(40)}" is no quantity from 1 to 4294967295, and is left out`,
      'qos.projectcalico.org/egressPacketRate: "fast" is no quantity from 1 to 10000, and is left out',
      'qos.projectcalico.org/egressMaxConnections: "-5" is no quantity from 1 to 4294967295, and is left out',
      'qos.projectcalico.org/egressPacketBurst: is left out without qos.projectcalico.org/egressPacketRate',
    ].join('; '),
  )
  t.regex(remedy!, /^correct .*egressPacketRate.*; the pod runs$/)
})

function shape(annotations: Record<string, string>) {
  const { bandwidth, told } = podQos({ metadata: { name: 'web', namespace: 'shop', annotations }, spec: {} } as never)
  return { bandwidth, message: told?.message }
}

test('bandwidth is in octets here, with a burst of 4 Gi bits where none is said', t => {
  t.deepEqual(
    shape({ [`${NAMES}/ingressBandwidth`]: '8M', [`${NAMES}/egressBandwidth`]: '1M', [`${NAMES}/egressBurst`]: '80k' }),
    {
      bandwidth: { ingress: { rate: 1_000_000, burst: 2 ** 29 }, egress: { rate: 125_000, burst: 10_000 } },
      message: undefined,
    },
  )
  const peak = { [`${NAMES}/ingressPeakrate`]: '16M', [`${NAMES}/ingressMinburst`]: '9k' }
  t.deepEqual(shape({ [`${NAMES}/ingressBandwidth`]: '8M', ...peak }).bandwidth, {
    ingress: { rate: 1_000_000, burst: 2 ** 29, peak: { rate: 2_000_000, burst: 9000 } },
  })
})

test('a peak that is the rate in whole octets a second, which the kernel refuses with the whole limit, is left out and told', t => {
  const peak = { [`${NAMES}/ingressBandwidth`]: '8000', [`${NAMES}/ingressPeakrate`]: '8007' }
  t.deepEqual(shape(peak), {
    bandwidth: { ingress: { rate: 1000, burst: 2 ** 29 } },
    message:
      'qos.projectcalico.org/ingressPeakrate: is left out without a lower qos.projectcalico.org/ingressBandwidth',
  })
  const more = { ...peak, [`${NAMES}/ingressPeakrate`]: '8008' }
  t.deepEqual(shape(more).bandwidth?.ingress?.peak, { rate: 1001 })
})

test('an annotation of Kubernetes counts where Calico’s says nothing, and lets the plugin of the chain come first', t => {
  t.deepEqual(shape({ 'kubernetes.io/ingress-bandwidth': '8M' }).bandwidth, {
    ingress: { rate: 1_000_000, burst: 2 ** 29 },
    yields: true,
  })
  const both = { 'kubernetes.io/egress-bandwidth': '8M', [`${NAMES}/egressBandwidth`]: '16M' }
  t.deepEqual(shape(both).bandwidth, { egress: { rate: 2_000_000, burst: 2 ** 29 }, yields: true })
})

test('bandwidth out of its range is the nearest in it, and what counts for nothing is left out, each told by its annotation', t => {
  const { bandwidth, message } = shape({
    [`${NAMES}/ingressBandwidth`]: '10',
    [`${NAMES}/ingressPeakrate`]: '2P',
    [`${NAMES}/ingressMinburst`]: 'some',
    [`${NAMES}/egressBandwidth`]: 'fast',
    [`${NAMES}/egressBurst`]: '1M',
    [`${NAMES}/egressPeakrate`]: '1M',
    [`${NAMES}/egressMinburst`]: '2k',
  })
  t.deepEqual(bandwidth, { ingress: { rate: 125, burst: 2 ** 29, peak: { rate: 1.01e15 / 8 } } })
  t.is(
    message,
    [
      'qos.projectcalico.org/ingressBandwidth: "10" is less than 1000, which holds',
      'qos.projectcalico.org/ingressPeakrate: "2P" is more than 1010000000000000, which holds',
      'qos.projectcalico.org/ingressMinburst: "some" is no quantity from 1000 to 100000000, and is left out',
      'qos.projectcalico.org/egressBandwidth: "fast" is no quantity from 1000 to 1000000000000000, and is left out',
      'qos.projectcalico.org/egressBurst: is left out without qos.projectcalico.org/egressBandwidth',
      'qos.projectcalico.org/egressPeakrate: is left out without a lower qos.projectcalico.org/egressBandwidth',
      'qos.projectcalico.org/egressMinburst: is left out without qos.projectcalico.org/egressPeakrate that counts',
    ].join('; '),
  )
})
