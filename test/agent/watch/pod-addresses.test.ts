// Which addresses in a pod are told as another one's.
import test from 'ava'
import type { AddressClaims } from '../../../agent/watch/address-claims.ts'
import { PodAddresses } from '../../../agent/watch/pod-addresses.ts'
import type { Condition } from '../../../api/status.ts'
import type { PodEndpoint } from '../../../cni/endpoints.ts'
import type { ForeignAddress } from '../../../cni/pod-watch.ts'
import { ManualClock } from '../../../lib/clock.ts'

const CLAIMS: AddressClaims = {
  pools: ['10.244.0.0/16'],
  isReserved: () => false,
  isOfNode: () => false,
  ownNetworks: [],
  isHeldHere: address => address === '10.244.2.7',
  podAt: address => (address === '10.244.1.5' ? 'default/n1-p1' : undefined),
  blockWith: () => undefined,
}

const endpoint = (containerID: string, addresses: string[], netns: string): PodEndpoint => ({
  ...{
    id: `net/${containerID}/eth0`,
    network: 'net',
    containerID,
    ifname: 'eth0',
    interfaceName: `cali${containerID}`,
  },
  ...{ netns, addresses, mac: '02:00:00:00:00:01', mtu: 1450, handle: 'h', createdMs: 0 },
  pod: { namespace: 'default', name: containerID, uid: '' },
})

function aWatch() {
  const clock = new ManualClock()
  let told: string[] | undefined
  const foreign: ForeignAddress[] = []
  const endpoints = [
    endpoint('p1', ['10.244.2.6'], '/run/netns/p1'),
    // the second interface of p1
    { ...endpoint('p1', ['10.244.2.7'], '/run/netns/p1'), id: 'other/p1/net1' },
  ]
  const watch = new PodAddresses({
    ...{ clock, claims: () => CLAIMS, foreign: () => foreign, endpoints: () => endpoints },
    report: (now: readonly Condition[]) =>
      (told = now.map(({ type, reason, message }) => `${type} ${reason}: ${message}`)),
  })
  watch.start()
  return { clock, watch, foreign, endpoints, told: () => told }
}

test('a pod that also has the address of another one is told with both, and with who gave it, until it has it no more', t => {
  const { clock, watch, foreign, endpoints, told } = aWatch()
  foreign.push({ endpoint: endpoints[0]!, address: '10.244.1.5', by: 'ip (process 7)' })
  watch.changed()
  clock.advance(1000)
  t.is(told(), undefined, 'it may be moving')
  clock.advance(500)
  t.deepEqual(told(), [
    'AddressesUnique PodTookAddress: Pod default/p1 also has 10.244.1.5, given by ip (process 7): it is the address of Pod default/n1-p1, and what this pod sends there stays in it',
  ])
  foreign.length = 0
  watch.changed()
  clock.advance(1500)
  t.deepEqual(told(), [])
  watch.close()
})

test('a pod whose addresses change all the time keeps nothing from being told', t => {
  const { clock, watch, foreign, endpoints, told } = aWatch()
  foreign.push({ endpoint: endpoints[0]!, address: '10.244.1.5', by: undefined })
  for (let i = 0; i < 10; i++) {
    watch.changed()
    clock.advance(200)
  }
  t.is(told()?.length, 1)
  watch.close()
})

test('an address of another interface of the same pod, and one that nobody has, are nothing', t => {
  const { clock, watch, foreign, endpoints, told } = aWatch()
  foreign.push({ endpoint: endpoints[0]!, address: '10.244.2.7', by: undefined })
  foreign.push({ endpoint: endpoints[0]!, address: '10.244.3.1', by: undefined })
  foreign.push({ endpoint: endpoints[0]!, address: '192.0.2.1', by: undefined })
  clock.advance(10_000)
  t.is(told(), undefined)
  watch.close()
})

test('of an address that becomes another pod’s later it is told then', t => {
  const { clock, watch, foreign, endpoints, told } = aWatch()
  clock.advance(10_000)
  foreign.push({ endpoint: endpoints[1]!, address: '10.244.1.5', by: undefined })
  clock.advance(10_000)
  t.regex(told()?.join() ?? '', /Pod default\/p1 also has 10\.244\.1\.5: it is/)
  watch.close()
})
