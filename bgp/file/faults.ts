// What is wrong with margay-bgp's file, in words: the place, what to write instead, and the value where it can be shown.
// Hazard: a file holds passwords, and one typed into the wrong place must not get into a log. So only numbers are shown
// and texts in the form of an address, a prefix or a community; never what stands in a field called password or secret.
import type { YAMLError } from 'yaml'
import type * as z from 'zod'

/** One fault: where, the value there, and what to write instead. */
export type ConfigFault = { path: string; value?: unknown; message: string }

/** A configuration that cannot be used; one line per fault: the place, what is wrong, what to write instead. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(faults.join('\n'))
    this.faults = faults
  }
}

/** `neighbors[0].holdTime: RFC 4271 allows 0 or 3-65535 seconds (the file says 2)`. */
export function faultLine({ path, value, message }: ConfigFault): string {
  const shown = /(password|secret)$/.test(path) ? undefined : shownValue(value)
  return `${path === '' ? 'the file' : path}: ${message}${shown === undefined ? '' : ` (the file says ${shown})`}`
}

/** Every fault that the schema found. What no branch of a union took is told by the branch that came nearest. */
export function schemaFaults(issues: readonly z.core.$ZodIssue[], above: readonly PropertyKey[] = []): ConfigFault[] {
  return issues.flatMap(issue => {
    const at = [...above, ...issue.path]
    if (issue.code === 'invalid_union') {
      const nearest = issue.errors.find(branch => branch.some(({ path, code }) => path.length > 0 || code === 'custom'))
      if (nearest !== undefined) return schemaFaults(nearest, at)
    }
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map(key => ({
        path: place([...at, fieldName(key)]),
        message: 'unknown field; remove it or look up its name',
      }))
    if (issue.code === 'invalid_type' && issue.input === undefined)
      return [{ path: place(at), message: `missing; it is required` }]
    return [{ path: place(at), value: issue.input, message: issue.message }]
  })
}

/** The place and the kind of a fault of YAML. The library's own words quote the file. */
export function yamlFault({ code, linePos }: YAMLError): string {
  const [{ line, col }] = linePos ?? [{ line: 1, col: 1 }]
  const kind = code.toLowerCase().replaceAll('_', ' ')
  return `line ${line}, column ${col}: not YAML (${kind}); quote texts with special characters`
}

const MOST_SHOWN = 64

function shownValue(value: unknown): string | undefined {
  if (typeof value === 'number' || typeof value === 'boolean') return `${value}`
  if (typeof value !== 'string' || value.length > MOST_SHOWN) return undefined
  return /^[\d.:/]*[.:/][\d.:/]*$|^[\da-fA-F]*:[\da-fA-F:.]*(\/\d*)?$/.test(value) ? value : undefined
}

/** What of a key can be the name of a field: `password:secret`, without the space, is a key as well. */
function fieldName(key: string): string {
  return /^\w{1,40}/.exec(key)?.[0] ?? '(a key)'
}

function place(path: readonly PropertyKey[]): string {
  return path
    .map(part => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '')
}
