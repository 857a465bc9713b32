// Which names are names of secrets: of fields, variables, flags, and of keys in text. Pure.

/** Wherever they stand in a name. */
const WORDS_ANYWHERE =
  /passw(?:or)?d|passphrase|pgpass|secret|token|credential|authori[sz]ation|cookie|(?:api|private|access)[-_.]?key|kubeconfig|docker(?:cfg|config)|session[-_.]?id|-data$/i
/** Only as a whole word of a name: `bypass` and `author` are none. */
const WHOLE_WORDS: readonly string[] = ['pass', 'passes', 'pwd', 'pw', 'auth', 'jwt', 'bearer', 'psk', 'pem']
/** A key of one of these is no secret: `topologyKey`. Any other is: `md5Key`, `tls.key`. */
const KEYS_OF: readonly string[] = ['public', 'topology', 'label', 'annotation', 'peer', 'sort', 'primary', 'object']
/** What ends so tells of a secret and is none: `secretName`, `token-file`, `secretKeyRef`. */
const LAST_WORDS =
  /^(names?|namespace|refs?|files?|paths?|dir|type|kind|mode|seconds|ms|count|length|audiences?|expir\w*|enabled|required|version)$/
const NO_SECRETS: readonly string[] = ['prometheusMetricsClientAuth']
/** Of a longer name the end decides, so that no text costs more than its length. */
const LONGEST = 200

/** Whether a value of this name has to go. `strict`: also where the name may be that of a file or a path. */
export function isSecretName(name: string, { strict = false }: { strict?: boolean } = {}): boolean {
  const end = name.slice(-LONGEST)
  if (NO_SECRETS.includes(end)) return false
  const words = wordsOf(end)
  const last = words.at(-1) ?? ''
  if (!strict && LAST_WORDS.test(last)) return false
  if (WORDS_ANYWHERE.test(end) || words.some(word => WHOLE_WORDS.includes(word))) return true
  if (!words.some(word => word === 'key' || word === 'keys')) return false
  return strict || (words.length > 1 && last.startsWith('key') && !words.some(word => KEYS_OF.includes(word)))
}

/** Whether a number of this name says how many there are: `tokens: 3`. */
export function isCount(name: string): boolean {
  return !/passw|passphrase|pass$|pin$/i.test(name.slice(-LONGEST))
}

function wordsOf(name: string): string[] {
  return name
    .split(/[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])/)
    .filter(word => word !== '')
    .map(word => word.toLowerCase())
}
