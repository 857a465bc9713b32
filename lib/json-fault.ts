// What is wrong with a text that is not JSON, without a word of it: the messages of JSON.parse quote the text around the fault,
// which may be a password or a token, and messages end up in logs.

/** `error` is what JSON.parse threw. A sentence's end: `is not JSON at line 3 column 7`. */
export function jsonFault({ message }: Error): string {
  const [, octet, line] = /at position (\d+)(?: \((line \d+ column \d+)\))?/.exec(message) ?? []
  if (line !== undefined) return `is not JSON at ${line}`
  return octet === undefined ? 'is not JSON' : `is not JSON at octet ${octet}`
}
