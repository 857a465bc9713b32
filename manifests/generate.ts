// `npm run manifests`: writes crds.yaml from the table of kinds. A test holds the file to the table.
import { writeFileSync } from 'node:fs'
import { crdsText } from './crds.ts'

writeFileSync(new URL('crds.yaml', import.meta.url), crdsText())
