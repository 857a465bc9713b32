// Kinds of Kubernetes that clients list without being asked to (`kubectl get events`), and of which this server holds none:
// their lists are empty, and nothing can be written.
const EMPTY = [{ plural: 'events', singular: 'event', kind: 'Event', shortNames: ['ev'], categories: [] }] as const

const VERBS = ['list']

/** The rows of discovery for these kinds, in the old form and in the aggregated one; all are of the core group. */
export function emptyResources(): object[] {
  return EMPTY.map(({ plural, singular, kind, shortNames, categories }) => ({
    ...{ name: plural, singularName: singular, namespaced: true, kind, verbs: VERBS, shortNames, categories },
  }))
}

export function emptyAggregatedRows(): object[] {
  return EMPTY.map(({ plural, singular, kind, shortNames, categories }) => ({
    ...{ resource: plural, responseKind: { group: '', version: 'v1', kind }, scope: 'Namespaced' },
    ...{ singularResource: singular, verbs: VERBS, shortNames, categories },
  }))
}

/** The list at a path; undefined when the path is none of these. */
export function emptyList(path: string): object | undefined {
  const plural = /^\/api\/v1\/(?:namespaces\/[^/]+\/)?([a-z]+)$/.exec(path)?.[1]
  const found = EMPTY.find(each => each.plural === plural)
  return found && { kind: `${found.kind}List`, apiVersion: 'v1', metadata: { resourceVersion: '0' }, items: [] }
}
