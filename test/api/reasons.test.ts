// The closed table of reasons: none is missing in the documentation, none is there that nobody says.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CONTROLLER_CONDITION_TYPES } from '../../api/controller-conditions.ts'
import { CONTROLLER_REASONS, pageOf, REASONS } from '../../api/reasons.ts'
import { CONDITION_TYPES } from '../../api/status.ts'
import { CNI_ERRORS, CniError, emitError } from '../../cni/error.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** All code of some rooms. */
function codeOf(rooms: readonly string[]): string {
  const files = rooms.flatMap(room =>
    readdirSync(`${root}${room}`, { recursive: true, encoding: 'utf8' }).map(name => `${root}${room}/${name}`),
  )
  return files
    .filter(name => name.endsWith('.ts'))
    .map(name => readFileSync(name, 'utf8'))
    .join('\n')
}

/** Every anchor of a page. */
function anchorsOf(page: string): string[] {
  return [...readFileSync(`${root}${page}`, 'utf8').matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id)
}

test('every condition has its reasons, and no other has any', t => {
  t.deepEqual(Object.keys(REASONS).toSorted(), Object.keys(CONDITION_TYPES).toSorted())
  t.deepEqual(Object.keys(CONTROLLER_REASONS).toSorted(), Object.keys(CONTROLLER_CONDITION_TYPES).toSorted())
})

test('every reason is said by some code', t => {
  const [node, controllers] = [
    codeOf(['agent', 'felix', 'ipam', 'cni', 'datastore', 'kernel']),
    codeOf(['controllers', 'datastore']),
  ]
  const unsaid = [
    ...Object.values(REASONS)
      .flatMap(rows => Object.keys(rows))
      .filter(reason => !new RegExp(`\\b${reason}\\b`).test(node)),
    ...Object.values(CONTROLLER_REASONS)
      .flatMap(rows => Object.keys(rows))
      .filter(reason => !new RegExp(`\\b${reason}\\b`).test(controllers)),
  ]
  t.deepEqual(unsaid, [])
})

test('every reason has an anchor of its own in the page that pageOf names, and every anchor a reason', t => {
  const anchors = anchorsOf('docs/conditions.md')
  t.deepEqual(
    anchors.filter((id, i) => anchors.indexOf(id) !== i),
    [],
    'two of one name',
  )
  const wanted = (reasons: Record<string, object>, of: 'node' | 'controllers') =>
    Object.entries(reasons).flatMap(([type, rows]) => ['', ...Object.keys(rows)].map(each => pageOf(type, each, of)))
  const pages = [...wanted(REASONS, 'node'), ...wanted(CONTROLLER_REASONS, 'controllers')]
  t.deepEqual(pages.toSorted(), anchors.map(id => `docs/conditions.md#${id}`).toSorted())
})

test('every error of the CNI plugin has the anchor that its details name', t => {
  const codes = Object.values(CNI_ERRORS).map(({ code }) => `docs/cni.md#code-${code}`)
  t.deepEqual(
    anchorsOf('docs/cni.md').map(id => `docs/cni.md#${id}`),
    codes,
  )
  for (const { code } of Object.values(CNI_ERRORS))
    t.is(
      JSON.parse(emitError(new CniError(code, 'it is so', 'do this'), '1.1.0')).details,
      `do this; see docs/cni.md#code-${code}`,
    )
  t.is(JSON.parse(emitError(new CniError(123, 'of another plugin', 'do this'), '1.1.0')).details, 'do this')
})

test('a reason of a later version has the page of its condition', t => {
  t.is(pageOf('PodTrafficPasses', 'LinkDown'), 'docs/conditions.md#podtrafficpasses-linkdown')
  t.is(pageOf('PodTrafficPasses', 'NeverHeard'), 'docs/conditions.md#podtrafficpasses')
  t.is(pageOf('BlocksOwned', 'OwnerUnknown', 'controllers'), 'docs/conditions.md#controllers-blocksowned-ownerunknown')
})
