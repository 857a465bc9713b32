// `npm run manifests`: writes crds.yaml from the table of kinds. A test holds the file to the table.
import { writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { crdKinds, crdOf } from '../api/crd.ts'

/** Where the CRDs are, for `kubectl apply -f`. */
export const CRDS = new URL('crds.yaml', import.meta.url)

/** The text of crds.yaml. */
export function crdsText(): string {
  const head = '# Written by `npm run manifests` from api/kinds.ts; do not edit.\n'
  return (
    head +
    crdKinds()
      .map(kind => `---\n${stringify(crdOf(kind), { aliasDuplicateObjects: false })}`)
      .join('')
  )
}

if (import.meta.main) writeFileSync(CRDS, crdsText())
