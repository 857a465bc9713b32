// Builds the page's files into dist/ui/assets, for the published package (`npm run bundle`).
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundlePages } from './bundle-pages.ts'

const folder = fileURLToPath(new URL('../dist/ui/assets/', import.meta.url))
mkdirSync(folder, { recursive: true })
for (const [name, contents] of (await bundlePages()).files) writeFileSync(`${folder}${name}`, contents)
