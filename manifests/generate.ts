// `npm run manifests`: writes crds.yaml, docs/conditions.md and docs/unsupported.md from the tables in api/. Tests compare
// the files with the tables.
import { writeFileSync } from 'node:fs'
import { conditionsText } from './conditions.ts'
import { crdsText } from './crds.ts'
import { unsupportedText } from './unsupported.ts'

writeFileSync(new URL('crds.yaml', import.meta.url), crdsText())
writeFileSync(new URL('../docs/conditions.md', import.meta.url), conditionsText())
writeFileSync(new URL('../docs/unsupported.md', import.meta.url), unsupportedText())
