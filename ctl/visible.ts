// Text of others as a terminal may show it: what a server or a node says may hold control characters, and a terminal would obey
// them. Pure.

/** C0 and C1 of ISO 6429, DEL, the line ends of Unicode, and what turns the direction of text. */
const CONTROL =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g
const LETTERS: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** A name or a cell, on one line: each control character as `\n` or `\u001b`. */
export function visible(text: string): string {
  return text.replace(CONTROL, escaped)
}

/** A text of several lines; its line ends stay. */
export function visibleLines(text: string): string {
  return text.replace(CONTROL, character => (character === '\n' ? character : escaped(character)))
}

/** A text of JSON, or one of YAML with double quotes around each string that holds one, with the rest of them escaped. */
export function escapedControls(text: string): string {
  return text.replace(/[\u007f-\u009f]/g, unicode)
}

function escaped(character: string): string {
  return LETTERS[character] ?? unicode(character)
}

function unicode(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
