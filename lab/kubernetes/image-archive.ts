// An image of a few programs as an OCI archive (OCI image-spec 1.1), made without a container engine: one layer of files,
// its configuration, a manifest and an index. Hazard: containerd finds the name in the index's annotation, not in the manifest.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

export type ImageFile = { from: string; to: string }

const BLOCK = 512
const FOLDERS = ['etc', 'proc', 'sys', 'dev', 'tmp', 'run', 'usr', 'usr/bin', 'var']

/** The archive of an image with the given files, each executable by all. `reference` is its whole name with the tag. */
export function imageArchive(reference: string, files: readonly ImageFile[], entrypoint: readonly string[]): Buffer {
  const layer = tar([
    ...FOLDERS.map(name => entry(`${name}/`, Buffer.alloc(0), name === 'tmp' ? 0o1777 : 0o755)),
    ...files.map(({ from, to }) => entry(to.replace(/^\//, ''), readFileSync(from), 0o755)),
  ])
  const blobs = new Map<string, Buffer>()
  const put = (mediaType: string, content: Buffer) => {
    const hash = createHash('sha256').update(content).digest('hex')
    blobs.set(`blobs/sha256/${hash}`, content)
    return { mediaType, digest: `sha256:${hash}`, size: content.length }
  }
  const top = put('application/vnd.oci.image.layer.v1.tar', layer)
  const config = put(
    'application/vnd.oci.image.config.v1+json',
    json({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: { Env: ['PATH=/:/usr/bin'], Entrypoint: entrypoint },
      rootfs: { type: 'layers', diff_ids: [top.digest] },
    }),
  )
  const type = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = put(type, json({ schemaVersion: 2, mediaType: type, config, layers: [top] }))
  const names = { 'io.containerd.image.name': reference, 'org.opencontainers.image.ref.name': reference }
  return tar([
    entry('oci-layout', json({ imageLayoutVersion: '1.0.0' }), 0o644),
    entry('index.json', json({ schemaVersion: 2, manifests: [{ ...manifest, annotations: names }] }), 0o644),
    ...[...blobs].map(([name, content]) => entry(name, content, 0o644)),
  ])
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

/** One file, or a folder when the name ends with a slash, in the ustar format (POSIX.1-1988): header, content, padding. */
function entry(name: string, content: Buffer, mode: number): Buffer {
  const header = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, digits: number) => header.write(value.toString(8).padStart(digits, '0'), at)
  header.write(name, 0)
  octal(mode, 100, 7)
  octal(0, 108, 7)
  octal(0, 116, 7)
  octal(content.length, 124, 11)
  octal(0, 136, 11)
  header.write(' '.repeat(8), 148)
  header.write(name.endsWith('/') ? '5' : '0', 156)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return Buffer.concat([header, content, Buffer.alloc(-content.length & (BLOCK - 1))])
}

function tar(entries: readonly Buffer[]): Buffer {
  return Buffer.concat([...entries, Buffer.alloc(2 * BLOCK)])
}
