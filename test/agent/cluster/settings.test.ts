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
