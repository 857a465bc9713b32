// An OCI image as one archive (image-spec 1.1: image-layout, manifest, config), with the names that containerd, Podman and
// Docker read from it. Everything in it is named by its digest, so the same layers and settings give the same archive.
import { createHash } from 'node:crypto'
import type { Machine } from '../cni/compile.ts'
import { type TarEntry, tarArchive } from '../lib/tar.ts'

/** `gzip` is `tar` compressed, and what is sent where it is there; `comment` is shown by `podman history`. */
export type Layer = { tar: Uint8Array; gzip?: Uint8Array; comment: string }

export type ImageSettings = {
  machine: Machine
  /** With registry and tag, as it stands in manifests. */
  reference: string
  /** RFC 3339. */
  created: string
  /** UID:GID of whoever asks for no other. */
  user: string
  entrypoint: readonly string[]
  /** The arguments of who gives none. */
  args?: readonly string[]
  env: readonly string[]
  labels: Readonly<Record<string, string>>
}

const MEDIA = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const

type Descriptor = { mediaType: string; digest: string; size: number }

/** The archive, and the digest of the image's manifest, by which a registry knows it. */
export function ociArchive(settings: ImageSettings, layers: readonly Layer[]): { archive: Buffer; digest: string } {
  const blobs = new Map<string, Uint8Array>()
  const add = (mediaType: string, content: Uint8Array): Descriptor => {
    const digest = sha256(content)
    blobs.set(`blobs/sha256/${digest}`, content)
    return { mediaType, digest: `sha256:${digest}`, size: content.length }
  }
  const config = add(MEDIA.config, json(imageConfig(settings, layers)))
  const parts = layers.map(({ tar, gzip }) =>
    gzip === undefined ? add(MEDIA.layer, tar) : add(`${MEDIA.layer}+gzip`, gzip),
  )
  const { reference, labels, machine } = settings
  const content = { schemaVersion: 2, mediaType: MEDIA.manifest, config, layers: parts, annotations: labels }
  const manifest = add(MEDIA.manifest, json(content))
  const index = {
    schemaVersion: 2,
    mediaType: MEDIA.index,
    manifests: [
      {
        ...manifest,
        platform: platform(machine),
        annotations: {
          'io.containerd.image.name': reference, // ctr, nerdctl, Podman
          'org.opencontainers.image.ref.name': reference.slice(reference.lastIndexOf(':') + 1),
        },
      },
    ],
  }
  // `docker load` of older versions, and kind, look for this list
  const path = ({ digest }: Descriptor) => `blobs/${digest.replace(':', '/')}`
  const dockerList = [{ Config: path(config), RepoTags: [reference], Layers: parts.map(path) }]
  const files = new Map<string, Uint8Array>([
    ['oci-layout', json({ imageLayoutVersion: '1.0.0' })],
    ['index.json', json(index)],
    ['manifest.json', json(dockerList)],
    ...[...blobs].sort(([a], [b]) => (a < b ? -1 : 1)),
  ])
  const folders: TarEntry[] = ['blobs', 'blobs/sha256'].map(folder => ({ path: folder, mode: 0o755 }))
  const entries = [...files].map(([name, octets]) => ({ path: name, content: octets, mode: 0o644 }))
  return { archive: tarArchive([...folders, ...entries]), digest: manifest.digest }
}

function imageConfig(
  { machine, created, user, entrypoint, args, env, labels }: ImageSettings,
  layers: readonly Layer[],
): object {
  return {
    created,
    ...platform(machine),
    config: { User: user, Entrypoint: entrypoint, Cmd: args, Env: env, WorkingDir: '/', Labels: labels },
    rootfs: { type: 'layers', diff_ids: layers.map(({ tar }) => `sha256:${sha256(tar)}`) },
    history: layers.map(({ comment }) => ({ created, comment })),
  }
}

function platform(machine: Machine): object {
  return machine === 'arm64'
    ? { architecture: 'arm64', os: 'linux', variant: 'v8' }
    : { architecture: machine, os: 'linux' }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
