// The text of crds.yaml, made from the table of kinds.
import { stringify } from 'yaml'
import { crdKinds, crdOf } from '../api/crd.ts'
import type { ManifestObject } from './names.ts'

/** One YAML document per kind, for `kubectl apply -f`. */
export function crdsText(): string {
  const head = '# Written by `npm run manifests` from api/kinds.ts; do not edit.\n'
  return (
    head +
    crdKinds()
      .map(kind => `---\n${stringify(crdOf(kind), { aliasDuplicateObjects: false })}`)
      .join('')
  )
}

/** The CRDs, in the order of the table of kinds. */
export function crdObjects(): ManifestObject[] {
  return crdKinds().map(kind => crdOf(kind) as ManifestObject)
}
