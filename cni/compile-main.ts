// Makes what the published package has of the plugin, below dist/cni: `plugin.c`, and the program for this machine and for
// every other one that a compiler is here for. `npm run prepack` runs it; an argument names another folder.
import { copyFileSync, mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { packageFile } from '../lib/package-files.ts'
import { CompilerMissing, compilePlugin, compilerFor, type Machine, thisMachine } from './compile.ts'

const folder = process.argv[2] ?? fileURLToPath(packageFile('dist/cni'))
mkdirSync(folder, { recursive: true })
copyFileSync(packageFile('cni/plugin.c'), `${folder}/plugin.c`)
for (const machine of ['amd64', 'arm64'] satisfies Machine[]) {
  try {
    mkdirSync(`${folder}/${machine}`, { recursive: true })
    compilePlugin(compilerFor(machine), `${folder}/${machine}/margay`)
  } catch (error) {
    if (machine === thisMachine() || !(error instanceof CompilerMissing)) throw error
    console.error(`left out: ${error.message}. Such hosts make it from plugin.c`)
  }
}
