// `npm run manifests`: writes crds.yaml and docs/unsupported.md from the tables in api/. Tests hold the files to the tables.
import { writeFileSync } from 'node:fs'
import { crdsText } from './crds.ts'
import { unsupportedText } from './unsupported.ts'

writeFileSync(new URL('crds.yaml', import.meta.url), crdsText())
writeFileSync(new URL('../docs/unsupported.md', import.meta.url), unsupportedText())
