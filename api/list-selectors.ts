// The label and field selectors of a Kubernetes list or watch (`a=b,c!=d,e in (f,g),!h` and `spec.nodeName=n1`). Calico's
// selectors are another language (api/selector.ts).
import { fieldAt } from './field-path.ts'
import { isLabelValue, isQualifiedName } from './names.ts'

/** A selector that cannot be read or asks for what the kind does not offer; the message names the part. */
export class ListSelectorError extends Error {
  override readonly name = 'ListSelectorError'
}

type Selectable = { readonly metadata: { readonly labels?: Readonly<Record<string, string>> } }
type Test<T> = (object: T) => boolean

/** Parses a label selector; an empty one selects everything. Throws ListSelectorError. */
export function parseLabelSelector(text: string): Test<Selectable> {
  const tests = splitRequirements(text).map(parseRequirement)
  return object => tests.every(test => test(object.metadata.labels ?? {}))
}

/** Commas inside parentheses belong to a set. */
function splitRequirements(text: string): string[] {
  if (text.trim() === '') return []
  return text.split(/,(?![^(]*\))/).map(part => part.trim())
}

function parseRequirement(text: string): Test<Readonly<Record<string, string>>> {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text)
  if (set !== null) {
    const [key, wanted] = [labelKey(set[1]!, text), new Set(set[3]!.split(',').map(v => labelValue(v.trim(), text)))]
    const isIn = set[2] === 'in'
    return labels => (own(labels, key) !== undefined && wanted.has(own(labels, key)!)) === isIn
  }
  const equality = /^([^\s=!]+)\s*(==|=|!=)\s*(\S*)$/.exec(text)
  if (equality !== null) {
    const [key, value] = [labelKey(equality[1]!, text), labelValue(equality[3]!, text)]
    const isEqual = equality[2] !== '!='
    return labels => (own(labels, key) === value) === isEqual
  }
  const absent = text.startsWith('!')
  const key = labelKey(absent ? text.slice(1).trim() : text, text)
  return labels => (own(labels, key) === undefined) === absent
}

function own(labels: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined
}

function labelKey(key: string, part: string): string {
  if (!isQualifiedName(key)) throw new ListSelectorError(`label selector ${JSON.stringify(part)}: no label name`)
  return key
}

function labelValue(value: string, part: string): string {
  if (!isLabelValue(value)) throw new ListSelectorError(`label selector ${JSON.stringify(part)}: not a label's value`)
  return value
}

/** One part of a field selector. */
type FieldRequirement = { path: readonly string[]; equal: boolean; value: string }

function parseFieldRequirements(text: string): FieldRequirement[] {
  return splitRequirements(text).map(part => {
    const match = /^([A-Za-z][\w.]*)\s*(==|=|!=)\s*(.*)$/.exec(part)
    if (match === null)
      throw new ListSelectorError(`field selector ${JSON.stringify(part)}: expected FIELD=VALUE or FIELD!=VALUE`)
    return { path: match[1]!.split('.'), equal: match[2] !== '!=', value: match[3]! }
  })
}

/** A test by any scalar field of the object; an absent field equals the empty text. Throws ListSelectorError. */
export function parseFieldSelector(text: string): Test<object> {
  return fieldTest(parseFieldRequirements(text))
}

/**
 * A test by the metadata of an object alone, such as its name: false means that `parseFieldSelector`'s test of the object
 * is false too. `decides`: true means the same. Throws ListSelectorError.
 */
export function parseFieldSelectorForMetadata(text: string): { test: Test<{ metadata: object }>; decides: boolean } {
  const all = parseFieldRequirements(text)
  const ofMetadata = all.filter(({ path }) => path[0] === 'metadata')
  return { test: fieldTest(ofMetadata), decides: ofMetadata.length === all.length }
}

function fieldTest(requirements: readonly FieldRequirement[]): Test<object> {
  return object => requirements.every(({ path, equal, value }) => (fieldText(object, path) === value) === equal)
}

/**
 * A test by the JSON text of an object (`emitJson`) alone: false means that `parseFieldSelector`'s test of the object is
 * false too, which costs a tenth of parsing it. Throws ListSelectorError.
 */
export function parseFieldSelectorForText(text: string): Test<string> {
  const needed = parseFieldRequirements(text)
    .filter(({ equal, value }) => equal && value !== '')
    .map(({ value }) => JSON.stringify(value).slice(1, -1))
  return json => needed.every(value => json.includes(value))
}

function fieldText(object: object, path: readonly string[]): string {
  const value = fieldAt(object, path)
  return value === undefined || value === null || typeof value === 'object' ? '' : String(value)
}
