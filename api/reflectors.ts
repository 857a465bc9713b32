// What margay-controllers tell all agents of automatic route reflectors: an annotation of the ClusterInformation `default`, whose
// version makes each change of it one that nobody else made meanwhile. `step=7 mesh=thin nodes=n1,n2`.

export const REFLECTORS_ANNOTATION = 'margay.io/Reflectors'

/** With fewer there is the mesh. */
export const LEAST_REFLECTORS = 2

/** Of a cluster: each node has a session with each of them, and hears of each route from each. */
export const MOST_REFLECTORS = 16

/** After it comes 1: what agents can read has so many digits. */
export const MOST_STEP = 999_999_999_999_999

/** Whether a step comes after another one, also where it is 1 again: less than half of all steps away. */
export function isLaterStep(step: number, than: number): boolean {
  const ahead = (step - than + MOST_STEP) % MOST_STEP
  return ahead > 0 && ahead < MOST_STEP / 2
}

/**
 * `step` is another one for each state, so that an answer says which it is about. `mesh`: `whole`, each node has sessions with all
 * others; `thin`, with the reflectors alone. `nodes` are the names of those that reflect.
 */
export type ReflectorState = { step: number; mesh: 'whole' | 'thin'; nodes: readonly string[] }

const FORM = /^step=(\d{1,15}) mesh=(whole|thin) nodes=([a-z0-9.,-]*)$/

/** Undefined where there is none, and where somebody wrote something else there. */
export function parseReflectors(text: string | undefined): ReflectorState | undefined {
  const [, step, mesh, names = ''] = FORM.exec(text ?? '') ?? []
  if (step === undefined) return undefined
  const nodes = [...new Set(names.split(',').filter(name => name !== ''))]
  return nodes.length > MOST_REFLECTORS ? undefined : { step: Number(step), mesh: mesh as 'whole' | 'thin', nodes }
}

export function formatReflectors({ step, mesh, nodes }: ReflectorState): string {
  return `step=${step} mesh=${mesh} nodes=${nodes.join(',')}`
}
