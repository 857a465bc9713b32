import test from 'ava'
import { fieldsCondition, podFieldsCondition } from '../../../agent/cluster/fields.ts'
import { aPool, aResource } from '../../datastore/objects.ts'

test('an object whose fields all have an effect has no condition', t => {
  t.is(fieldsCondition('IPPool', aPool('a')), undefined)
})

test('all fields without effect of an object are one condition that names them and what happens instead', t => {
  const spec = { peerIP: '192.0.2.1', asNumber: 1, filters: ['f'], password: { secretKeyRef: { name: 's', key: 'k' } } }
  const condition = fieldsCondition('BGPPeer', aResource('BGPPeer', { metadata: { name: 'rack' }, spec }))
  t.like(condition, { type: 'FieldsSupported', status: 'False', object: { kind: 'BGPPeer', name: 'rack' } })
  t.regex(condition!.message, /password is not supported: .*; filters is not supported: the peer gets no session/)
  t.regex(condition!.remedy, /password, filters/)
})

test('a pod that asks for floating addresses is named, with what to use in their place', t => {
  const read = (text?: string) =>
    podFieldsCondition({
      metadata: { name: 'web', namespace: 'shop', annotations: { 'cni.projectcalico.org/floatingIPs': text } },
    } as never)
  for (const none of [undefined, '', ' ', '[]']) t.is(read(none), undefined)
  const condition = read('["192.0.2.7"]')
  t.like(condition, { reason: 'NoEffect', object: { kind: 'Pod', namespace: 'shop', name: 'web' } })
  t.regex(condition!.message, /floatingIPs is not supported/)
})
