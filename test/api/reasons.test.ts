// The closed table of reasons: none is missing in the documentation, none is there that nobody says.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CONTROLLER_CONDITION_TYPES } from '../../api/controller-conditions.ts'
import { NODE_EVENTS } from '../../api/node-events.ts'
import { CONTROLLER_REASONS, pageOf, pageOfEvent, REASONS } from '../../api/reasons.ts'
import { CONDITION_TYPES, EVENT_TYPES } from '../../api/status.ts'
import { DOWN_REASONS } from '../../bgp/down-reasons.ts'
import { CNI_ERRORS, CniError, emitError } from '../../cni/error.ts'
import { troubleshootingText } from '../../manifests/troubleshooting.ts'

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

/** Anchors and headings of a page: GitHub makes the second of the words of a heading. */
function targetsOf(page: string): string[] {
  const headings = [...readFileSync(`${root}${page}`, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, words = '']) =>
    words
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  )
  return [...anchorsOf(page), ...headings]
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
  const isEvent = (id: string) => id.startsWith('event-')
  const pages = [...wanted(REASONS, 'node'), ...wanted(CONTROLLER_REASONS, 'controllers')]
  t.deepEqual(
    pages.toSorted(),
    anchors
      .filter(id => !isEvent(id))
      .map(id => `docs/conditions.md#${id}`)
      .toSorted(),
  )
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

test('docs/troubleshooting.md is what its tables say, every vital condition is the cause of a symptom, and every link leads somewhere', t => {
  const text = readFileSync(`${root}docs/troubleshooting.md`, 'utf8')
  t.is(text, troubleshootingText(), 'npm run manifests writes it')
  for (const [type, { vital }] of Object.entries(CONDITION_TYPES))
    if (vital !== false) t.true(text.includes(`\`${type}\``), type)
  const links = [...text.matchAll(/\]\(([\w-]+\.md)#([\w-]+)\)/g)]
  t.true(links.length > 30)
  const missing = links
    .filter(([, page = '', id = '']) => !targetsOf(`docs/${page}`).includes(id))
    .map(([link]) => link)
  t.deepEqual(missing, [])
})

test('every event has the page of what it tells: its condition and reason, why a session went down, or its type', t => {
  const page = (type: string, reason: string, message: string) => pageOfEvent({ type, reason, message })
  t.is(
    page('ConditionChanged', 'LinkDown', 'PodTrafficPasses: eth0 is down'),
    'docs/conditions.md#podtrafficpasses-linkdown',
  )
  t.is(page('ConditionChanged', 'Ok', 'PodTrafficPasses'), 'docs/conditions.md#podtrafficpasses')
  t.is(page('Healed', 'ChangedByOther', 'route was deleted'), 'docs/conditions.md#event-healed')
  t.is(page('SessionChanged', 'Established', 'up'), 'docs/conditions.md#event-sessionchanged')
  const conditions = anchorsOf('docs/conditions.md')
  for (const type of Object.keys(EVENT_TYPES))
    t.true(conditions.includes(page(type, 'Established', '').split('#')[1]!), type)
  for (const reason of Object.keys(NODE_EVENTS)) t.true(conditions.includes(`event-${reason.toLowerCase()}`), reason)
  const downs = Object.keys(DOWN_REASONS).map(code => page('SessionChanged', code, 'Down'))
  t.deepEqual(
    downs,
    anchorsOf('docs/bgp.md')
      .filter(id => id.startsWith('down-'))
      .map(id => `docs/bgp.md#${id}`),
  )
})

test('a reason of a later version has the page of its condition', t => {
  t.is(pageOf('PodTrafficPasses', 'LinkDown'), 'docs/conditions.md#podtrafficpasses-linkdown')
  t.is(pageOf('PodTrafficPasses', 'NeverHeard'), 'docs/conditions.md#podtrafficpasses')
  t.is(pageOf('BlocksOwned', 'OwnerUnknown', 'controllers'), 'docs/conditions.md#controllers-blocksowned-ownerunknown')
})
