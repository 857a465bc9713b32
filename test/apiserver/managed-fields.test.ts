// Who owns which field, as Kubernetes has it: every writer, not only those who apply.
import test from 'ava'
import fc from 'fast-check'
import type { AnyObject } from '../../api/lifecycle.ts'
import {
  changedFields,
  conflictsOf,
  difference,
  fieldsOf,
  present,
  union,
  withoutFields,
} from '../../apiserver/field-set.ts'
import {
  applied,
  managerName,
  ownersAfterUpdate,
  withOwners,
  withStartingOwners,
} from '../../apiserver/managed-fields.ts'
import { ApiError } from '../../apiserver/status.ts'
import { processorMs } from '../slowness.ts'

const NOW = '2026-01-01T00:00:00Z'
const LATER = '2026-01-02T00:00:00Z'
const by = (name: string, now = NOW): { name: string; now: string } => ({ name, now })
const config = (spec: object, metadata: object = {}): AnyObject =>
  ({ apiVersion: 'projectcalico.org/v3', kind: 'IPPool', metadata: { name: 'p', ...metadata }, spec }) as AnyObject
const apply = (before: AnyObject | undefined, spec: object, who: string, force = false): AnyObject =>
  applied('IPPool', before, config(spec), by(who), { force })

/** A plain write of `after`, as create, update and patch do it. */
function write(before: AnyObject | undefined, after: AnyObject, who: string, now = NOW): AnyObject {
  const starting = withStartingOwners(after, before)
  return withOwners(starting, ownersAfterUpdate('IPPool', before, starting, by(who, now)))
}

type Row = { manager: string; operation: string; fieldsV1: object; time: string }
const ownersOf = (object: AnyObject): Row[] => (object.metadata as { managedFields?: Row[] }).managedFields ?? []
const owner = (object: AnyObject, who: string): object | undefined =>
  ownersOf(object).find(({ manager }) => manager === who)?.fieldsV1

test('whoever creates an object owns its fields, but not its name', t => {
  const made = write(undefined, config({ a: 1, b: [1] }, { labels: { x: 'y' } }), 'kubectl-create')
  t.deepEqual(owner(made, 'kubectl-create'), {
    'f:metadata': { 'f:labels': { 'f:x': {} } },
    'f:spec': { 'f:a': {}, 'f:b': {} },
  })
  t.like(ownersOf(made)[0], {
    operation: 'Update',
    apiVersion: 'projectcalico.org/v3',
    fieldsType: 'FieldsV1',
    time: NOW,
  })
})

test('a write takes what it changes from its owners, and leaves the rest to them', t => {
  const made = write(undefined, config({ a: 1, b: 2 }), 'one')
  const next = write(made, config({ a: 1, b: 3, c: 4 }), 'two', LATER)
  t.deepEqual(owner(next, 'one'), { 'f:spec': { 'f:a': {} } })
  t.deepEqual(owner(next, 'two'), { 'f:spec': { 'f:b': {}, 'f:c': {} } })
})

test('a field that is removed belongs to nobody', t => {
  const made = write(undefined, config({ a: 1, b: { c: 1 } }), 'one')
  t.deepEqual(owner(write(made, config({ a: 1 }), 'two'), 'one'), { 'f:spec': { 'f:a': {} } })
  t.is(owner(write(made, config({ a: 1 }), 'two'), 'two'), undefined)
})

test('a write that changes nothing owns nothing, and no time moves', t => {
  const made = write(undefined, config({ a: 1 }), 'one')
  t.deepEqual(write(made, config({ a: 1 }), 'two', LATER), made)
})

test('an apply conflicts with whoever has another value there, however it was written, and is told who', t => {
  const made = write(apply(undefined, { a: 1 }, 'applier'), config({ a: 2 }), 'kubectl-label')
  const error = t.throws(() => apply(made, { a: 1 }, 'applier'), { instanceOf: ApiError })
  t.is(error?.code, 409)
  t.regex(String(error?.message), /1 conflict: conflict with "kubectl-label" using its last write: \.spec\.a$/)
  const forced = apply(made, { a: 1 }, 'applier', true)
  t.deepEqual(forced['spec'], { a: 1 })
  t.is(owner(forced, 'kubectl-label'), undefined)
})

test('two appliers of one value share it, and it stays until both have dropped it', t => {
  const both = apply(apply(undefined, { a: 1, b: 1 }, 'one'), { a: 1 }, 'two')
  t.deepEqual(apply(both, { b: 1 }, 'one')['spec'], { a: 1, b: 1 })
  t.deepEqual(apply(apply(both, { b: 1 }, 'one'), {}, 'two')['spec'], { b: 1 })
})

test('what an applier named before and names no longer goes away, unless somebody else owns it', t => {
  const first = apply(undefined, { a: 1, b: 1 }, 'one')
  const touched = write(first, config({ a: 1, b: 1, c: 1 }), 'other')
  t.deepEqual(apply(touched, { a: 1 }, 'one')['spec'], { a: 1, c: 1 })
})

test('applying the same twice changes nothing', t => {
  const first = apply(undefined, { a: 1, b: [1, 2] }, 'one')
  t.deepEqual(applied('IPPool', first, config({ a: 1, b: [1, 2] }), by('one', LATER), { force: false }), first)
})

test('a client that gives other owners sets them, and an empty list forgets them', t => {
  const made = write(undefined, config({ a: 1 }), 'kubectl-client-side-apply')
  const moved = ownersOf(made).map(entry => ({ ...entry, manager: 'kubectl', operation: 'Apply' }))
  const given = write(made, config({ a: 1 }, { managedFields: moved }), 'kubectl')
  t.like(ownersOf(given)[0], { manager: 'kubectl', operation: 'Apply' })
  t.deepEqual(ownersOf(write(made, config({ a: 1 }, { managedFields: [] }), 'x')), [])
  t.deepEqual(
    ownersOf(write(undefined, config({ a: 1 }, { managedFields: moved }), 'x')).map(e => e.manager),
    ['x'],
  )
})

test('owners that are no owners are left out', t => {
  const wrong = [{}, 1, null, { manager: 'm', operation: 'Eat', fieldsV1: {} }, { manager: 'm', operation: 'Apply' }]
  const made = write(undefined, config({ a: 1 }), 'one')
  t.deepEqual(ownersOf(write(made, config({ a: 1 }, { managedFields: wrong }), 'one')), [])
})

test('a manager without a name is called as its program', t => {
  t.is(managerName(undefined, 'kubectl/v1.32.0 (linux/amd64) kubernetes/abc'), 'kubectl')
  t.is(managerName('', 'curl/8.1'), 'curl')
  t.is(managerName(undefined, undefined), 'unknown')
  t.is(managerName('me', 'curl/8.1'), 'me')
  t.throws(() => managerName('x'.repeat(129), undefined), { instanceOf: ApiError })
  t.throws(() => managerName('a\nb', undefined), { instanceOf: ApiError })
})

const value = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.integer({ min: 0, max: 3 }),
    fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom('a', 'b', '__proto__'), tie('value'), { noNullPrototype: true, maxKeys: 3 }),
  ),
})).value

test('of any two values: nothing changed is nothing, and what is taken out is not there any more', t => {
  fc.assert(
    fc.property(value, value, (a, b) => {
      t.deepEqual(changedFields(a, a), {})
      t.deepEqual(conflictsOf(fieldsOf(a), b, b), [])
      t.deepEqual(difference(fieldsOf(a), fieldsOf(a)), {})
      t.deepEqual(difference(changedFields(a, b), fieldsOf(b)), {})
      t.deepEqual(union(fieldsOf(a), fieldsOf(a)), fieldsOf(a))
      if (typeof a === 'object' && !Array.isArray(a)) {
        t.deepEqual(present(fieldsOf(a), withoutFields(a, fieldsOf(a))), {})
        t.deepEqual(present(fieldsOf(a), a), fieldsOf(a))
      }
    }),
  )
})

test('ten thousand fields cost time by their number, not by its square', t => {
  const many = (v: number): object => Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, v]))
  const tookMs = processorMs(() => {
    const first = apply(undefined, many(1), 'one')
    const second = write(first, config(many(2)), 'two')
    t.throws(() => apply(second, many(3), 'one'), { instanceOf: ApiError })
    apply(second, {}, 'one', true)
  })
  t.true(tookMs < 5000, `${tookMs} ms`)
})
