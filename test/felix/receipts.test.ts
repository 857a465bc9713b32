// Who is told what when a pass ends, and what of a pass's refusals concerns one endpoint.
import test from 'ava'
import { Receipts } from '../../felix/receipts.ts'
import { EndpointRefusals, refusalConditions, tableConditions } from '../../felix/refusals.ts'
import { ApplyError, type Refusal } from '../../kernel/reconcile/outcome.ts'
import { calculated, EMPTY, endpoint } from './worlds.ts'

const refusal: Refusal = { kind: 'route', key: '10.1.0.0/26', reason: 'Refused', errno: 22, message: 'no' }

test('a receipt is answered by the first pass that took in its generation, not by an earlier one', async t => {
  const receipts = new Receipts()
  const answered: number[] = []
  const all = [1, 2, 3].map(n => receipts.receipt(n, undefined).then(() => answered.push(n)))
  receipts.answer(0, [])
  await Promise.resolve()
  t.deepEqual(answered, [])
  receipts.answer(2, [])
  await Promise.all(all.slice(0, 2))
  t.deepEqual(answered, [1, 2])
  receipts.answer(3, [])
  await Promise.all(all)
  t.deepEqual(answered, [1, 2, 3])
})

test('a receipt for an endpoint is refused only for what concerns that endpoint', async t => {
  const receipts = new Receipts()
  const [whole, mine, others] = [undefined, 'a', 'b'].map(id => receipts.receipt(1, id))
  receipts.answerEndpoints(1, id => (id === 'a' ? [refusal] : []))
  receipts.answer(1, [refusal])
  const error = await t.throwsAsync(mine!, { instanceOf: ApplyError })
  t.deepEqual(error?.refusals, [refusal])
  await t.throwsAsync(whole!, { instanceOf: ApplyError })
  await t.notThrowsAsync(others!)
})

test('whoever waits for sync waits past passes that were refused something', async t => {
  const receipts = new Receipts()
  let synced = false
  const sync = receipts.sync(1).then(() => {
    synced = true
  })
  receipts.answer(1, [refusal])
  await Promise.resolve()
  t.false(synced)
  receipts.answer(1, [])
  await sync
  t.true(synced)
})

test('closing rejects everybody who waits', async t => {
  const receipts = new Receipts()
  const waiting = [receipts.receipt(1, undefined), receipts.receipt(1, 'a'), receipts.sync(1)]
  receipts.close()
  for (const each of waiting) await t.throwsAsync(each, { message: 'felix is closed' })
})

test('an endpoint is told of refusals on its interface, of addresses that others have, and that it is unknown', t => {
  const pods = [endpoint('a', '10.244.1.5', '10.244.1.6'), endpoint('b', '10.244.1.6')]
  const onInterface = { ...refusal, interfaceName: 'calib' }
  const refusals = new EndpointRefusals(calculated({ ...EMPTY, endpoints: pods }), [refusal, onInterface])
  const said = (id: string) => refusals.of(id).map(({ kind, key, message }) => `${kind} ${key}: ${message}`)
  t.deepEqual(said('a'), [])
  t.deepEqual(said('b'), ['route 10.1.0.0/26: no', 'route 10.244.1.6/32: the address belongs to calia'])
  t.deepEqual(said('c'), ['link c: felix was not told of endpoint c'])
})

test('an endpoint whose interface another endpoint has is told so', t => {
  const pods = [endpoint('a', '10.244.1.5'), { ...endpoint('b', '10.244.1.6'), interfaceName: 'calia' }]
  const [first] = new EndpointRefusals(calculated({ ...EMPTY, endpoints: pods }), []).of('b')
  t.is(first?.message, 'the interface belongs to endpoint a')
})

test('a refusal is a condition of its object, with the reason for machines', t => {
  const [condition] = refusalConditions([
    { ...refusal, kind: 'fdb', key: 'vxlan.calico 66:00:00:00:00:01', reason: 'NotShown' },
  ])
  t.like(condition, {
    type: 'KernelInSync',
    status: 'False',
    reason: 'NotShown',
    object: { kind: 'FdbEntry', name: 'vxlan.calico 66:00:00:00:00:01' },
  })
})

test('all that waits for one missing interface is one condition, that of its link', t => {
  const on = (interfaceName: string, reason: Refusal['reason'], key: string): Refusal => ({
    ...{ kind: 'route', key, interfaceName, reason },
    message: 'no',
  })
  const conditions = refusalConditions([
    on('calia', 'Refused', '10.244.1.5/32'),
    on('calia', 'NoInterface', '10.244.1.6/32'),
    on('calib', 'Refused', '10.244.1.7/32'),
  ])
  t.deepEqual(
    conditions.map(({ reason, object }) => `${object?.kind} ${object?.name} ${reason}`),
    ['Link calia NoInterface', 'Route 10.244.1.7/32 Refused'],
  )
  t.is(conditions[0]?.message, 'interface calia is not there')
  for (const { remedy } of conditions) t.not(remedy, '')
})

test('without the table of policy a condition says that policies are not enforced, and not that packets are not filtered', t => {
  const name = 'inet margay-policy'
  const [lacks, refuses] = [
    tableConditions(new Map([[name, 'no such family']]), []),
    tableConditions(new Map(), [{ kind: 'nftTable', key: name, reason: 'Refused', message: 'EPERM' }]),
  ]
  t.like(lacks, {
    length: 1,
    0: { type: 'PoliciesEnforced', reason: 'NoNftables', object: { kind: 'NftTable', name } },
  })
  t.like(refuses, { length: 1, 0: { type: 'PoliciesEnforced', reason: 'Refused' } })
})
