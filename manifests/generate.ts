// `npm run manifests`: writes what an operator applies, and docs/cni.md, conditions.md, explain.md, metrics.md, troubleshooting.md and unsupported.md from the code and the tables
// in api/, cni/ and explain/. Tests compare the files with the code.
import { mkdirSync, writeFileSync } from 'node:fs'
import { cniText } from './cni.ts'
import { conditionsText } from './conditions.ts'
import { explainText } from './explain.ts'
import { manifestFiles } from './installation.ts'
import { metricsDocument } from './metrics.ts'
import { troubleshootingText } from './troubleshooting.ts'
import { unsupportedText } from './unsupported.ts'

for (const [name, text] of manifestFiles()) {
  const file = new URL(name, import.meta.url)
  mkdirSync(new URL('.', file), { recursive: true })
  writeFileSync(file, text)
}
writeFileSync(new URL('../docs/cni.md', import.meta.url), cniText())
writeFileSync(new URL('../docs/conditions.md', import.meta.url), conditionsText())
writeFileSync(new URL('../docs/explain.md', import.meta.url), explainText())
writeFileSync(new URL('../docs/metrics.md', import.meta.url), metricsDocument())
writeFileSync(new URL('../docs/troubleshooting.md', import.meta.url), troubleshootingText())
writeFileSync(new URL('../docs/unsupported.md', import.meta.url), unsupportedText())
