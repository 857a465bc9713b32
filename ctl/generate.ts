// Part of `npm run manifests`: writes docs/margayctl.md from the table of commands. A test compares the file with it.
import { writeFileSync } from 'node:fs'
import { documentText } from './document.ts'

writeFileSync(new URL('../docs/margayctl.md', import.meta.url), documentText())
