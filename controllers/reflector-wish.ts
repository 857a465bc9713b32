// What the annotation `margay.io/AutoReflectors` of the BGPConfiguration `default` asks for, such as
// `above=100, per-rack=2, label=topology.kubernetes.io/rack`. Pure. One that makes no sense moves nothing, and is told.
import { BGP_ANNOTATION } from '../api/core.ts'

export type ReflectorWish = {
  /** Of more nodes than this some reflect. */
  above: number
  /** So many in each rack, as far as it has them. */
  perRack: number
  /** The key of the label of Nodes that names their rack; absent: all are in one. */
  label?: string
}

/** Nothing is asked for where both are absent. */
export type AskedReflectors = { wish?: ReflectorWish; fault?: string }

const MOST_ABOVE = 100_000
const MOST_PER_RACK = 8

export const REFLECTOR_WORDS = 'above=NODES, per-rack=NUMBER, label=KEY'

export function askedReflectors({ annotations = {} }: { annotations?: Record<string, string> } = {}): AskedReflectors {
  const text = annotations[BGP_ANNOTATION.autoReflectors]?.trim() ?? ''
  if (text === '') return {}
  const wish: Partial<ReflectorWish> & { perRack: number } = { perRack: 2 }
  for (const word of text.split(/[\s,]+/).filter(each => each !== '')) {
    const fault = read(word, wish)
    if (fault !== undefined) return { fault }
  }
  const { above } = wish
  return above === undefined ? { fault: 'the word above is missing' } : { wish: { ...wish, above } }
}

/** Puts a word into `into`, or answers what is wrong with it. */
function read(word: string, into: Partial<ReflectorWish>): string | undefined {
  const name = word.split('=', 1)[0]!
  const value = word.slice(name.length + 1)
  switch (name) {
    case 'above':
      into.above = numberOf(value, MOST_ABOVE)
      return into.above === undefined ? `above is no number from 1 to ${MOST_ABOVE}` : undefined
    case 'per-rack':
      into.perRack = numberOf(value, MOST_PER_RACK) ?? 0
      return into.perRack === 0 ? `per-rack is no number from 1 to ${MOST_PER_RACK}` : undefined
    case 'label':
      into.label = value
      return LABEL.test(value) ? undefined : 'label is no key of a label'
    default:
      return `nothing is known of the word ${JSON.stringify(name.slice(0, 40))}, but of above, per-rack and label`
  }
}

/** As Kubernetes takes them. */
const LABEL = /^([a-z0-9.-]{1,253}\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/

function numberOf(text: string, most: number): number | undefined {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : 0
  return number < 1 || number > most ? undefined : number
}
