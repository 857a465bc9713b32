import test from 'ava'
import { refusedConditions } from '../../../agent/cluster/refused.ts'
import { validate } from '../../../api/validate.ts'

test('an object that is not valid is a condition that names it, its fields and what to do', t => {
  const problems = validate('IPPool', { metadata: { name: 'a' }, spec: { cidr: '10.0.0.0/99', blockSize: 'x' } })
  if (!Array.isArray(problems)) return t.fail()
  const [condition] = refusedConditions('IPPool', [{ name: 'a', problems }])
  t.like(condition, {
    type: 'ObjectsReadable',
    status: 'False',
    reason: 'Invalid',
    object: { kind: 'IPPool', name: 'a' },
  })
  t.regex(condition!.message, /spec\.cidr: must be a CIDR/)
  t.regex(condition!.remedy, /correct spec\.cidr, spec\.blockSize, or delete IPPool a/)
  return undefined
})

test('the message of an object with thousands of problems stays short', t => {
  const problems = Array.from({ length: 5000 }, (_, i) => ({ path: `spec.filters[${i}]`, message: 'must be text' }))
  const [condition] = refusedConditions('BGPPeer', [{ name: 'a', problems }])
  t.true(condition!.message.length < 700)
  t.true(condition!.remedy.length < 700)
})
