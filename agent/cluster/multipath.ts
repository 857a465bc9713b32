// What the annotation `margay.io/Multipath` of the BGPConfiguration `default` asks for: `off`, or words such as `paths=8 of=merge`.
// Calico has no field for it; `resilient` among them is felix', which writes the groups. Pure. One that makes no sense is told, and nodes do what they do without it.
import { BGP_ANNOTATION } from '../../api/core.ts'
import { broken, type Condition } from '../../api/status.ts'
import { MOST_PATHS, type Multipath } from '../../bgp/config.ts'
import type { Settings } from '../../felix/input.ts'

/** As BIRD in Calico's nodes (`merge paths on`, with its limit of 16). */
export const USUAL_MULTIPATH: Multipath = { paths: 16, of: 'either' }

type Resilient = NonNullable<Settings['config']['resilient']>

/** What nodes do; `multipath` absent: one path of each prefix is used. `resilient`: of which type the kernel's groups of them are. */
type AskedMultipath = { multipath?: Multipath; resilient?: Resilient; fault?: Condition }
type Asked = { multipath: Multipath; resilient?: Resilient }

/** As `idleSeconds` of margay-bgp. The kernel's own buckets are 128: of 64 paths two each. */
const USUAL_RESILIENT: Resilient = { buckets: 512, idleSeconds: 120 }
const MOST_BUCKETS = 65535

export function askedMultipath({ annotations = {} }: { annotations?: Record<string, string> } = {}): AskedMultipath {
  const text = annotations[BGP_ANNOTATION.multipath]?.trim() ?? ''
  if (text === '') return { multipath: USUAL_MULTIPATH }
  if (text === 'off') return {}
  const asked: Asked = { multipath: { ...USUAL_MULTIPATH } }
  for (const word of text.split(/\s+/)) {
    const wrong = read(word, asked)
    if (wrong !== undefined) return { multipath: USUAL_MULTIPATH, fault: fault(text, wrong) }
  }
  return asked
}

/** Puts a word into `into`, or answers what is wrong with it. */
function read(word: string, asked: Asked): string | undefined {
  const { multipath: into } = asked
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
    case 'resilient': {
      // at least one for each path that there can be
      const buckets = word === name ? USUAL_RESILIENT.buckets : /^\d{1,5}$/.test(value) ? Number(value) : 0
      asked.resilient = { ...USUAL_RESILIENT, buckets }
      return buckets < MOST_PATHS || buckets > MOST_BUCKETS
        ? `the number of buckets of resilient is not from ${MOST_PATHS} to ${MOST_BUCKETS}`
        : undefined
    }
    default:
      return `nothing is known of the word ${name}, but of off, paths, of, as-path, weights and resilient`
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
    remedy:
      'write "off", or some of paths=8 of=ebgp|ibgp|either|merge as-path=length|same weights=link-bandwidth resilient, or resilient=BUCKETS',
  })
}
