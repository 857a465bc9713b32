// Text without what looks like a secret: logs, and files that are values in ConfigMaps. Each step goes through the text once:
// a pattern begins only where a run of its characters begins, or always takes what it has looked at. Pure.
import { isCount, isSecretName } from './redaction-names.ts'

export const REMOVED = '<removed>'

/** What is a secret by its own form. */
const BY_FORM: readonly RegExp[] = [
  /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g,
  /(?:gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|npm_|dckr_pat_|hvs\.)[\w-]{10,}/g,
  /(?:AKIA|ASIA)[A-Z0-9]{16}/g,
]
/** One of them may be a JSON web token. */
const RUN = /[\w.-]{17,}/g
const SCHEME = /\b(bearer|basic)([ \t]{1,8})[\w+/=.~-]{8,}/gi
const LOGIN = /(?<![\w-])(-u|--user)([ \t=]{1,8})[^\s:]{1,256}:\S{1,1024}/g
const FLAG = /(?<![\w-])(--?([\w.-]+)[ \t]{1,8})(?!-)([^\s"']+)/g
/** A name and what stands between it and its value: `name: `, `"name":`, `\"name\" = `. */
const NAME = /(?<![\w.-])([\w.-]+)\\*["']?[ \t]{0,8}([:=]{1,3}>?)[ \t]{0,8}/g
/** Of a header the word before the secret stays. */
const HEADER_SCHEME = /(?:bearer|basic|token|apikey|digest|negotiate)[ \t]{1,8}(?=\S)/iy
const BLOCK = /[|>][-+0-9]{0,3}[ \t]{0,8}(?:#[^\n]*)?(?=\r?\n|$)/y
/** The same in a string of JSON, whose lines are no lines. */
const BLOCK_IN_STRING = /[|>][-+0-9]{0,3}\\+n[^"\n]*/y
const LIST = /\[[^[\]{}]*\]/y
const HARMLESS = /(?:true|false|null|none|nil)(?![^\s,;}\])"'])/iy
const NUMBER = /\d{1,20}(?![^\s,;}\])"'])/y
const REST_OF_LINE = /[^\r\n]*/y
const REST_OF_HEADER = /[^\r\n"']*/y
const IN_FLOW = /[^\s,;}"']+/y
const ASSIGNED = /(?:\\(?!["'])|[^\s&"'\\])+/y
const NAMED_LINE = /^[ \t]*(?:- +)?["']?[\w.-]+["']?[ \t]*:(?:\s|$)/

/** The text with `<removed>` for each secret. Takes time in proportion to its length, whatever it holds. */
export function textWithoutSecrets(text: string): string {
  const byForm = BY_FORM.reduce((left, pattern) => left.replace(pattern, REMOVED), text)
  const left = withoutLogins(byForm.replace(RUN, withoutWebToken))
    .replace(LOGIN, (_all, flag: string, blanks: string) => flag + blanks + REMOVED)
    .replace(FLAG, (all, before: string, name: string) => (isSecretName(name) ? before + REMOVED : all))
  return withoutNamed(left).replace(SCHEME, (_all, scheme: string, blanks: string) => `${scheme}${blanks}${REMOVED}`)
}

/** From `eyJ` on, the begin of JSON in base64, where two dots follow. */
function withoutWebToken(run: string): string {
  const at = run.indexOf('eyJ')
  return at < 0 || run.slice(at).split('.').length < 3 ? run : run.slice(0, at) + REMOVED
}

/** Each URL without what stands before its host. */
function withoutLogins(text: string): string {
  const [first = '', ...others] = text.split('://')
  return [first, ...others.map(withoutLogin)].join('://')
}

function withoutLogin(afterScheme: string): string {
  const [run = ''] = /^[^\s"'`<>]*/.exec(afterScheme) ?? []
  const [authority = ''] = /^[^/?#]*/.exec(run) ?? []
  // a password may hold what ends a host: then no port stands there
  const login = authority.includes('@') || /^[^:]*:(?![0-9]{1,5}$)./.test(authority) ? run : ''
  const at = authority.includes('@') ? authority.lastIndexOf('@') : login.lastIndexOf('@')
  return at < 0 ? afterScheme : REMOVED + afterScheme.slice(at)
}

/** Without the values that stand after names of secrets. */
function withoutNamed(text: string): string {
  const kept: string[] = []
  let from = 0
  const names = new RegExp(NAME)
  for (let found = names.exec(text); found !== null; found = names.exec(text)) {
    const [all, run = '', separator = ''] = found
    // in a string of JSON the line end before a name is a backslash and a letter
    const name = text[found.index - 1] === '\\' && /^[nrt]/.test(run) ? run.slice(1) : run
    const value = isSecretName(name)
      ? valueAt(text, { at: found.index + all.length, nameAt: found.index, name, separator })
      : bareKey(text, name, found.index + all.length)
    if (value === undefined) continue
    kept.push(text.slice(from, value.start), REMOVED)
    from = value.end
    names.lastIndex = value.end
  }
  return [...kept, text.slice(from)].join('')
}

type Named = { at: number; nameAt: number; name: string; separator: string }
type Span = { start: number; end: number }

/** `key: ` names many things: what is long and of letters and digits alone may be one. */
function bareKey(text: string, name: string, at: number): Span | undefined {
  if (name.toLowerCase() !== 'key') return undefined
  const end = endOf(/\\*["']?[\w+/=-]{16,}(?![\w.:+/=-])/y, text, at)
  return end === undefined ? undefined : { start: at, end: endOf(/\\*["']/y, text, end) ?? end }
}

/** The value of a name of a secret; undefined when there is none. */
function valueAt(text: string, { at, nameAt, name, separator }: Named): Span | undefined {
  const { column, isFirst } = placeOf(text, nameAt)
  const block = endOf(BLOCK, text, at)
  if (block !== undefined) return { start: at, end: deeperLines(text, block, column) }
  for (const pattern of [BLOCK_IN_STRING, LIST]) {
    const end = endOf(pattern, text, at)
    if (end !== undefined) return { start: at, end }
  }
  if (text[at] === undefined || text[at] === '\n' || text[at] === '\r') {
    const end = separator === ':' ? plainLines(text, at, column) : at
    return end === at ? undefined : { start: at, end }
  }
  if (endOf(HARMLESS, text, at) !== undefined || text[at] === '{' || text[at] === '[') return undefined
  if (isCount(name) && endOf(NUMBER, text, at) !== undefined) return undefined
  const quoted = endOfQuoted(text, at)
  if (quoted !== undefined)
    return { start: at, end: quoted.isClosed ? quoted.end : deeperLines(text, quoted.end, column) }
  if (/authori[sz]ation|cookie/i.test(name.slice(-200))) {
    const start = endOf(HEADER_SCHEME, text, at) ?? at
    return spanOf(start, endOf(REST_OF_HEADER, text, start))
  }
  const wholeLine = isFirst && separator === ':'
  if (wholeLine) return { start: at, end: deeperLines(text, endOf(REST_OF_LINE, text, at) ?? at, column) }
  return spanOf(at, endOf(separator === ':' ? IN_FLOW : ASSIGNED, text, at))
}

function spanOf(start: number, end: number | undefined): Span | undefined {
  return end === undefined || end === start ? undefined : { start, end }
}

/** Where a sticky pattern ends that matches at a place. */
function endOf(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : undefined
}

/** How far a name stands from the begin of its line, and whether it is the first of it, as in YAML. */
function placeOf(text: string, nameAt: number): { column: number; isFirst: boolean } {
  const from = Math.max(0, nameAt - 400)
  const before = text.slice(from, nameAt)
  const line = before.slice(before.lastIndexOf('\n') + 1)
  return { column: line.length, isFirst: /^[ \t]*(?:- +){0,4}["']?$/.test(line) }
}

/** The end of a value in quotes: closed by a quote with as many backslashes, or else the end of the line. */
function endOfQuoted(text: string, at: number): { end: number; isClosed: boolean } | undefined {
  const opened = endOf(/\\*["']/y, text, at)
  if (opened === undefined) return undefined
  const quote = text[opened - 1]!
  const slashes = opened - 1 - at
  let run = 0
  for (let i = opened; i < text.length; i++) {
    if (text[i] === '\n') return { end: i, isClosed: false }
    if (text[i] === quote && (run === slashes || (slashes === 0 && (quote === "'" || run % 2 === 0))))
      return { end: i + 1, isClosed: true }
    run = text[i] === '\\' ? run + 1 : 0
  }
  return { end: text.length, isClosed: false }
}

/** The end of the lines that follow and stand deeper than a column, empty ones between them too. */
function deeperLines(text: string, lineEnd: number, column: number): number {
  return linesWhile(text, lineEnd, line => line.trim() === '' || indentOf(line) > column)
}

/** The same for the lines of a list, or of a text, below a name; those with names of their own stay. */
function plainLines(text: string, lineEnd: number, column: number): number {
  return linesWhile(text, lineEnd, line => {
    const indent = indentOf(line)
    return (indent > column || (indent === column && /^[ \t]*- /.test(line))) && !NAMED_LINE.test(line)
  })
}

function linesWhile(text: string, lineEnd: number, belongs: (line: string) => boolean): number {
  let end = lineEnd
  for (let at = text.indexOf('\n', lineEnd); at >= 0; ) {
    const next = text.indexOf('\n', at + 1)
    const line = text.slice(at + 1, next < 0 ? text.length : next)
    if (line === '' && next < 0) break
    if (!belongs(line)) break
    end = next < 0 ? text.length : next
    at = next
  }
  return end
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length
}
