// The form in which Calico stores its resources, both ways, for every kind.
import test from 'ava'
import fc from 'fast-check'
import { apiGroupAmong } from '../../api/api-group.ts'
import { emitJson, parseJson } from '../../api/json.ts'
import { isCustom, type Kind, kinds } from '../../api/kinds.ts'
import { servedAs } from '../../api/served.ts'
import { decodeStored, encodeStored, METADATA_ANNOTATION, otherUid } from '../../api/stored-form.ts'

const POLICIES = ['NetworkPolicy', 'GlobalNetworkPolicy', 'StagedNetworkPolicy', 'StagedGlobalNetworkPolicy']
const stored = [...new Set([...(Object.keys(kinds) as Kind[]).filter(isCustom), ...POLICIES])]

const key = fc.oneof(
  fc.stringMatching(/^[a-z]{1,8}$/),
  fc.constantFrom(
    'projectcalico.org/tier',
    'operator.tigera.io/x',
    'margay.io/asked',
    'kubectl.kubernetes.io/last-applied-configuration',
    '__proto__',
  ),
)
const texts = fc.dictionary(key, fc.string(), { maxKeys: 4 })
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const owner = fc.record({
  apiVersion: fc.constantFrom('projectcalico.org/v3', 'v1', 'apps/v1'),
  kind: fc.constant('IPPool'),
  name: fc.stringMatching(/^[a-z]{1,8}$/),
  uid: fc.uuid(),
})
const value = fc.jsonValue({ maxDepth: 3 })
const spec = fc.record(
  {
    tier: fc.constantFrom('default', '', 'security'),
    deleted: fc.boolean(),
    sequenceNumber: fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
    fromTheFuture: value,
  },
  { requiredKeys: [] },
)
const v3 = fc.record(
  {
    metadata: fc
      .record({
        name: fc.stringMatching(/^[a-z]{1,8}(\.[a-z]{1,4})?$/),
        namespace: some(fc.constant('shop')),
        uid: some(fc.uuid()),
        resourceVersion: some(fc.constant('7')),
        creationTimestamp: some(fc.constant('2026-01-02T03:04:05Z')),
        finalizers: some(fc.constant(['margay/blocks'])),
        labels: some(texts),
        annotations: some(texts),
        ownerReferences: some(fc.array(owner, { minLength: 1, maxLength: 2 })),
        fromTheFuture: some(fc.string()),
      })
      .map(withoutEmpty),
    spec,
    status: value.filter(each => each !== null),
  },
  { requiredKeys: ['metadata', 'spec'] },
)

function withoutEmpty(object: Record<string, unknown>): Record<string, unknown> {
  const isEmpty = (each: unknown) => each === undefined || (typeof each === 'object' && Object.keys(each!).length === 0)
  return Object.fromEntries(Object.entries(object).filter(([, each]) => !isEmpty(each)))
}

const overTheWire = (object: unknown): unknown => parseJson(emitJson(object))

test('an object of any kind that is stored and read again is the same object', t => {
  for (const kind of stored)
    fc.assert(
      fc.property(v3, object => {
        const back = decodeStored(kind, overTheWire(encodeStored(kind, object)))
        t.is(back.problem, undefined)
        t.deepEqual(back.object, overTheWire(object))
      }),
      { numRuns: 60 },
    )
  t.pass()
})

test('what others stored is read, and says the same after it was written by us', t => {
  const kept = fc.record(
    {
      name: fc.stringMatching(/^[a-z]{1,8}$/),
      labels: texts,
      annotations: texts,
      creationTimestamp: fc.constantFrom(null, '2020-01-01T00:00:00Z'),
      ownerReferences: fc.array(owner),
      generation: fc.nat(),
    },
    { requiredKeys: [] },
  )
  const others = fc.record({ object: v3, kept: fc.option(kept, { nil: undefined }) })
  for (const kind of stored)
    fc.assert(
      fc.property(others, ({ object, kept }) => {
        const { annotations, ...metadata } = object.metadata as { annotations?: Record<string, string> }
        const given = { ...annotations, ...(kept && { [METADATA_ANNOTATION]: JSON.stringify(kept) }) }
        const spec = kind === 'BlockAffinity' ? { ...object.spec, deleted: 'true' } : object.spec
        const first = decodeStored(
          kind,
          overTheWire({ ...object, spec, metadata: { ...metadata, annotations: given } }),
        )
        const second = encodeStored(kind, first.object as object)
        t.deepEqual(decodeStored(kind, overTheWire(second)).object, first.object)
        // what was written by us once is written the same again
        t.is(emitJson(encodeStored(kind, decodeStored(kind, overTheWire(second)).object as object)), emitJson(second))
      }),
      { numRuns: 40 },
    )
  t.pass()
})

test('nothing that a server may send makes reading it fail', t => {
  const odd = fc.oneof(
    value,
    fc.record({ metadata: value, spec: value }),
    fc.record({
      metadata: fc.record({ annotations: value, labels: value, name: value, uid: value, ownerReferences: value }),
    }),
  )
  const annotated = value.map(each => ({
    metadata: { name: 'p1', annotations: { [METADATA_ANNOTATION]: JSON.stringify(each) } },
  }))
  fc.assert(
    fc.property(
      fc.constantFrom(...stored),
      fc.oneof(odd, annotated),
      (kind, object) => void decodeStored(kind, object),
    ),
  )
  const { problem } = decodeStored('IPPool', { metadata: { name: 'p1', annotations: { [METADATA_ANNOTATION]: '[]' } } })
  t.regex(problem!, /projectcalico\.org\/metadata/)
})

test('the UID has its bits turned in each octet but those of version and variant, and twice is once', t => {
  t.is(otherUid('80808080-0180-4001-8001-ffffffff0001'), '01010101-8001-4080-8080-ffffffff0080')
  fc.assert(fc.property(fc.uuid(), uid => otherUid(otherUid(uid)) === uid))
  t.is(otherUid('no-uuid'), 'no-uuid')
})

test('a policy that Calico before 3.32 stored is read under the name that a person gave', t => {
  const nameOf = (stored: string, tier?: string, given?: string) => {
    const annotations = given === undefined ? {} : { [METADATA_ANNOTATION]: JSON.stringify({ name: given }) }
    const { object } = decodeStored('NetworkPolicy', { metadata: { name: stored, annotations }, spec: { tier } })
    return (object as { metadata: { name: string } }).metadata.name
  }
  t.is(nameOf('default.web'), 'web')
  t.is(nameOf('default.web', 'default'), 'web')
  t.is(nameOf('security.web', 'security'), 'security.web')
  t.is(nameOf('default.web', 'default', 'default.web'), 'default.web')
})

test('an affinity says with a text whether it is deleted', t => {
  const object = { metadata: { name: 'a' }, spec: { deleted: true } }
  t.like(encodeStored('BlockAffinity', object), { spec: { deleted: 'true' } })
  t.like(decodeStored('BlockAffinity', { metadata: { name: 'a' }, spec: { deleted: 'false' } }).object, {
    spec: { deleted: false },
  })
  t.like(encodeStored('IPAMBlock', object), { spec: { deleted: true } })
})

test('kinds have the names of their group, and Calico’s rule chooses the group', t => {
  t.like(servedAs('IPAMConfiguration', 'v1'), { group: 'crd.projectcalico.org', version: 'v1', plural: 'ipamconfigs' })
  t.like(servedAs('IPPool', 'v3'), { group: 'projectcalico.org', version: 'v3', kind: 'IPPool', plural: 'ippools' })
  t.like(servedAs('Node', 'v1'), { group: '', plural: 'nodes' })
  t.is(servedAs('WorkloadEndpoint', 'v1'), undefined)
  t.is(apiGroupAmong(['apps', 'projectcalico.org']), 'v3')
  t.is(apiGroupAmong(['projectcalico.org', 'crd.projectcalico.org']), 'v1')
  t.is(apiGroupAmong(['crd.projectcalico.org']), 'v1')
  t.is(apiGroupAmong(['apps']), undefined)
})
