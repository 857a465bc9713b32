#!/usr/bin/env node
// `npm run image`: writes the container images, as archives, below dist/image. Needs no container engine and no root.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import type { Machine } from '../cni/compile.ts'
import { buildImage } from './build.ts'
import { bundlePrograms } from './bundle.ts'
import { updatePins } from './debian.ts'

const MACHINES = ['amd64', 'arm64'] as const satisfies Machine[]

const program = new Command('npm run image --')
  .description('Writes margay-ARCH.tar (an OCI archive), margay-ARCH.spdx.json and margay-ARCH.licenses.txt.')
  .option('--arch <list>', 'amd64, arm64 or both with a comma', machines, [...MACHINES])
  .option('--output <dir>', 'where to', 'dist/image')
  .option('--update-debian', 'first pin the Debian packages that there are today, in image/debian.json')
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))

program.parse()
const flags = program.opts<{ arch: Machine[]; output: string; updateDebian?: true }>()
try {
  if (flags.updateDebian === true) updatePins(flags.arch)
  const bundle = await bundlePrograms()
  mkdirSync(flags.output, { recursive: true })
  for (const machine of flags.arch) {
    const { archive, sbom, licenses, reference, digest, compressedOctets } = await buildImage(machine, bundle)
    const path = resolve(flags.output, `margay-${machine}`)
    write(`${path}.spdx.json`, sbom)
    write(`${path}.licenses.txt`, licenses)
    write(`${path}.tar`, archive)
    const mebibytes = (compressedOctets / 2 ** 20).toFixed(1)
    console.log(`${join(flags.output, `margay-${machine}.tar`)}: ${reference}, ${mebibytes} MiB, ${digest}`)
  }
} catch (error) {
  console.error(`no image: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 3
}

/** Whole or not at all: who imports the archive meanwhile gets the old one. */
function write(path: string, content: string | Uint8Array): void {
  writeFileSync(`${path}.new`, content, { mode: 0o644 })
  renameSync(`${path}.new`, path)
}

function machines(text: string): Machine[] {
  const names = text.split(',')
  const found = MACHINES.filter(machine => names.includes(machine))
  if (names.length === found.length) return found
  throw new InvalidArgumentError(`${text} is not amd64, arm64 or amd64,arm64`)
}
