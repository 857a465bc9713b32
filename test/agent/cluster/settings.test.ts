import test from 'ava'
import { bgpSettings, felixSettings } from '../../../agent/cluster/settings.ts'
import { aResource } from '../../datastore/objects.ts'

test("without a configuration object Calico's defaults hold", t => {
  t.like(bgpSettings(undefined), { asNumber: 64512, nodeToNodeMeshEnabled: true, listenPort: 179 })
  t.like(felixSettings(undefined), {
    vxlanPort: 4789,
    vxlanVni: 4096,
    ipipMtu: 0,
    vxlanMtu: 0,
    workloadRouteProtocol: 3,
  })
})

test('what an object says replaces the default of that field alone', t => {
  const spec = { vxlanMTU: 1300 }
  const felix = felixSettings(aResource('FelixConfiguration', { metadata: { name: 'default' }, spec }))
  t.like(felix, { vxlanMtu: 1300, vxlanPort: 4789 })
})

test('what an object for one node says replaces those fields of the cluster that may differ, and no other one', t => {
  const config = (name: string, spec: object) => aResource('BGPConfiguration', { metadata: { name }, spec })
  const cluster = config('default', {
    ...{ asNumber: 65001, listenPort: 1179, communities: [{ name: 'a', value: '65001:1' }] },
    prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['a'] }],
  })
  t.deepEqual(bgpSettings(cluster, config('node.n1', { asNumber: 65009, nodeToNodeMeshEnabled: false })), {
    ...cluster.spec,
    listenPort: 1179,
  })
  t.is(bgpSettings(cluster, config('node.n1', { listenPort: 179 })).listenPort, 179)
  t.is(bgpSettings(undefined, config('node.n1', { listenPort: 1180 })).listenPort, 1180)
  const own = config('node.n1', { prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['65001:9'] }] })
  t.like(bgpSettings(cluster, own), { communities: undefined, prefixAdvertisements: own.spec.prefixAdvertisements })
})

test('MTUs and route protocol of one node replace those of the cluster, port and VNI of the tunnels do not', t => {
  const config = (name: string, spec: object) => aResource('FelixConfiguration', { metadata: { name }, spec })
  const cluster = config('default', { vxlanMTU: 1300, ipipMTU: 1400, deviceRouteProtocol: 80 })
  const own = config('node.n1', { vxlanMTU: 0, deviceRouteProtocol: 4, vxlanPort: 4790, vxlanVNI: 5 })
  t.deepEqual(felixSettings(cluster, own), {
    ...{ vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 1400, vxlanMtu: 0 },
    workloadRouteProtocol: 4,
  })
})
