// The text of crds.yaml, made from the table of kinds.
import { stringify } from 'yaml'
import { crdKinds, crdOf } from '../api/crd.ts'
import { isOwn, type Kind } from '../api/kinds.ts'
import type { ManifestObject } from './names.ts'

/** One YAML document per kind, for `kubectl apply -f`. */
export function crdsText(): string {
  const head = '# Written by `npm run manifests` from api/kinds.ts; do not edit.\n'
  return head + crdDocuments(crdKinds())
}

/** Those of Margay's own kinds, which a cluster with Calico's CRDs lacks. */
export function ownCrdsText(): string {
  return crdDocuments(crdKinds().filter(isOwn))
}

function crdDocuments(kinds: readonly Kind[]): string {
  return kinds.map(kind => `---\n${stringify(crdOf(kind), { aliasDuplicateObjects: false })}`).join('')
}

/** The CRDs, in the order of the table of kinds. */
export function crdObjects(): ManifestObject[] {
  return crdKinds().map(kind => crdOf(kind) as ManifestObject)
}
