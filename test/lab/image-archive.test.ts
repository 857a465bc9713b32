// The archive of an image, read with tar and as the OCI image format says.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { imageArchive } from '../../lab/kubernetes/image-archive.ts'
import { systemProgram } from '../../lib/system-program.ts'

const dir = mkdtempSync(join(tmpdir(), 'margay-image-'))
test.after.always(() => rmSync(dir, { recursive: true }))

const tar = (archive: Buffer, ...args: string[]) => {
  const run = spawnSync(systemProgram('tar'), [...args, '-f', '-'], { input: archive, maxBuffer: 1 << 24 })
  if (run.status !== 0) throw new Error(run.stderr.toString())
  return run.stdout
}
const member = (archive: Buffer, name: string) => {
  return spawnSync(systemProgram('tar'), ['-x', '-O', '-f', '-', name], { input: archive, maxBuffer: 1 << 24 }).stdout
}

test('an image archive has its name in the index, every blob under its own digest, and its files in the layer', t => {
  const program = join(dir, 'program')
  writeFileSync(program, 'x'.repeat(1000))
  const archive = imageArchive('registry.local/some/image:1', [{ from: program, to: '/bin/program' }], ['/bin/program'])
  const names = tar(archive, '-t').toString().trim().split('\n')
  for (const name of names.filter(each => /^blobs\/sha256\/./.test(each))) {
    t.is(createHash('sha256').update(member(archive, name)).digest('hex'), name.replace('blobs/sha256/', ''))
  }
  type Reference = { digest: string; annotations?: Record<string, string> }
  const blob = ({ digest }: Reference) => member(archive, `blobs/${digest.replace(':', '/')}`)
  const index = JSON.parse(member(archive, 'index.json').toString()) as { manifests: [Reference] }
  t.is(index.manifests[0].annotations?.['io.containerd.image.name'], 'registry.local/some/image:1')
  const manifest = JSON.parse(blob(index.manifests[0]).toString()) as { config: Reference; layers: [Reference] }
  const config = JSON.parse(blob(manifest.config).toString()) as {
    config: { Entrypoint: string[] }
    rootfs: { diff_ids: string[] }
  }
  t.deepEqual(config.config.Entrypoint, ['/bin/program'])
  t.deepEqual(config.rootfs.diff_ids, [manifest.layers[0].digest])
  const listed = tar(blob(manifest.layers[0]), '-t', '-v').toString()
  t.regex(listed, /^-rwxr-xr-x 0\/0 +1000 .* bin\/program$/m)
  t.regex(listed, /^drwxrwxrwt .* tmp\/$/m)
})
