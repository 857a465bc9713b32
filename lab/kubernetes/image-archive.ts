// An image of a few programs of this machine as an OCI archive: one layer that is not compressed, since it is read once.
import { readFileSync } from 'node:fs'
import { ociArchive } from '../../image/oci.ts'
import { type TarEntry, tarArchive } from '../../lib/tar.ts'

export type ImageFile = { from: string; to: string }

/** The machine that the lab runs on, as images call it. */
export const MACHINE = process.arch === 'arm64' ? 'arm64' : 'amd64'

const FOLDERS = ['etc', 'proc', 'sys', 'dev', 'tmp', 'run', 'usr', 'usr/bin', 'var']

/** The archive of an image with the given files, each executable by all. `reference` is its whole name with the tag. */
export function imageArchive(reference: string, files: readonly ImageFile[], entrypoint: readonly string[]): Buffer {
  const entries: TarEntry[] = [
    ...FOLDERS.map(path => ({ path, mode: path === 'tmp' ? 0o1777 : 0o755 })),
    ...files.map(({ from, to }) => ({ path: to.replace(/^\//, ''), content: readFileSync(from), mode: 0o755 })),
  ]
  const settings = { machine: MACHINE, reference, created: '1970-01-01T00:00:00Z', user: '0:0', labels: {} } as const
  const layer = { tar: tarArchive(entries), comment: 'programs of the lab' }
  return ociArchive({ ...settings, entrypoint, env: ['PATH=/:/usr/bin'] }, [layer]).archive
}
