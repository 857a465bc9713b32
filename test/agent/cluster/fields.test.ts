import test from 'ava'
import { fieldsCondition } from '../../../agent/cluster/fields.ts'
import { aPool, aResource } from '../../datastore/objects.ts'

test('an object whose fields all have an effect has no condition', t => {
  t.is(fieldsCondition('IPPool', aPool('a')), undefined)
})

test('all fields without effect of an object are one condition that names them and what happens instead', t => {
  const spec = { peerIP: '192.0.2.1', asNumber: 1, fromLater: 1, fromStillLater: 'all()' }
  const condition = fieldsCondition('BGPPeer', aResource('BGPPeer', { metadata: { name: 'rack' }, spec }))
  t.like(condition, { type: 'FieldsSupported', status: 'False', object: { kind: 'BGPPeer', name: 'rack' } })
  t.regex(
    condition!.message,
    /fromLater is not supported: .*; fromStillLater is not supported: .* the peer gets no session/,
  )
  t.regex(condition!.remedy, /fromLater, fromStillLater/)
})
