// What the annotation `margay.io/Multipath` of the BGPConfiguration `default` asks for: `off`, or words such as `paths=8 of=merge`.
// Calico has no field for it. Pure. One that makes no sense is told, and nodes do what they do without it.
import { BGP_ANNOTATION } from '../../api/core.ts'
import { broken, type Condition } from '../../api/status.ts'
import { MOST_PATHS, type Multipath } from '../../bgp/config.ts'

/** As BIRD in Calico's nodes (`merge paths on`, with its limit of 16). */
export const USUAL_MULTIPATH: Multipath = { paths: 16, of: 'either' }

/** What nodes do; `multipath` absent: one path of each prefix is used. */
type AskedMultipath = { multipath?: Multipath; fault?: Condition }

export function askedMultipath({ annotations = {} }: { annotations?: Record<string, string> } = {}): AskedMultipath {
  const text = annotations[BGP_ANNOTATION.multipath]?.trim() ?? ''
  if (text === '') return { multipath: USUAL_MULTIPATH }
  if (text === 'off') return {}
  const multipath: Multipath = { ...USUAL_MULTIPATH }
  for (const word of text.split(/\s+/)) {
    const wrong = read(word, multipath)
    if (wrong !== undefined) return { multipath: USUAL_MULTIPATH, fault: fault(text, wrong) }
  }
  return { multipath }
}

/** Puts a word into `into`, or answers what is wrong with it. */
function read(word: string, into: Multipath): string | undefined {
  const [name = '', value = ''] = [word.split('=', 1)[0], word.slice(word.indexOf('=') + 1)]
  switch (name) {
    case 'paths':
      into.paths = /^\d{1,3}$/.test(value) ? Number(value) : 0
      return into.paths < 1 || into.paths > MOST_PATHS
        ? `the number of paths is not from 1 to ${MOST_PATHS}`
        : undefined
    case 'of':
      into.of = one(OF, value) ?? into.of
      return into.of === value ? undefined : `of is none of ${OF.join(', ')}`
    case 'as-path':
      into.asPath = one(AS_PATH, value)
      return into.asPath === undefined ? `as-path is none of ${AS_PATH.join(', ')}` : undefined
    case 'weights':
      into.weights = one(WEIGHTS, value)
      return into.weights === undefined ? `weights is not ${WEIGHTS.join(', ')}` : undefined
    default:
      return `nothing is known of the word ${name}, but of off, paths, of, as-path and weights`
  }
}

const OF = ['ebgp', 'ibgp', 'either', 'merge'] as const
const AS_PATH = ['length', 'same'] as const
const WEIGHTS = ['link-bandwidth'] as const

function one<T extends string>(known: readonly T[], value: string): T | undefined {
  return known.find(each => each === value)
}

function fault(text: string, wrong: string): Condition {
  return broken('PeersConfigured', {
    object: { kind: 'BGPConfiguration', name: 'default' },
    reason: 'BadMultipath',
    message: `annotation ${BGP_ANNOTATION.multipath} is ${JSON.stringify(text.slice(0, 80))}: ${wrong}; nodes use up to ${USUAL_MULTIPATH.paths} equal paths, as without it`,
    remedy: 'write "off", or some of paths=8 of=ebgp|ibgp|either|merge as-path=length|same weights=link-bandwidth',
  })
}
