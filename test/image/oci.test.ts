import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import test from 'ava'
import { type ImageSettings, type Layer, ociArchive } from '../../image/oci.ts'
import { type Component, spdxDocument } from '../../image/sbom.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { tarArchive } from '../../lib/tar.ts'

const settings: ImageSettings = {
  machine: 'amd64',
  reference: 'registry.example:5000/margay/margay:1.2.3',
  created: '2026-01-02T03:04:05Z',
  user: '65532:65532',
  entrypoint: ['/usr/bin/node'],
  env: ['PATH=/usr/bin'],
  labels: { 'org.opencontainers.image.version': '1.2.3' },
}
const layer = (text: string): Layer => {
  const tar = tarArchive([{ path: 'file', content: Buffer.from(text), mode: 0o644 }])
  return { tar, gzip: gzipSync(tar), comment: text }
}
const layers = [layer('lower'), layer('upper')]
const sha256 = (content: Uint8Array) => createHash('sha256').update(content).digest('hex')

function read(archive: Buffer, path: string): Buffer {
  return execFileSync(systemProgram('tar'), ['-xOf', '-', path], { input: archive })
}
const blob = (archive: Buffer, digest: string) => read(archive, `blobs/${digest.replace(':', '/')}`)

test('every blob of an image has the digest and the size by which it is named, and the layers their diff ids', t => {
  const { archive, digest } = ociArchive(settings, layers)
  const index = JSON.parse(read(archive, 'index.json').toString())
  t.is(index.manifests[0].digest, digest)
  const manifest = JSON.parse(blob(archive, digest).toString())
  for (const each of [index.manifests[0], manifest.config, ...manifest.layers]) {
    const content = blob(archive, each.digest)
    t.deepEqual([`sha256:${sha256(content)}`, content.length], [each.digest, each.size])
  }
  const config = JSON.parse(blob(archive, manifest.config.digest).toString())
  t.deepEqual(
    config.rootfs.diff_ids,
    manifest.layers.map((each: { digest: string }) => `sha256:${sha256(gunzipSync(blob(archive, each.digest)))}`),
  )
  t.deepEqual([config.architecture, config.os, config.config.Entrypoint], ['amd64', 'linux', ['/usr/bin/node']])
  t.deepEqual(JSON.parse(read(archive, 'oci-layout').toString()), { imageLayoutVersion: '1.0.0' })
})

test('containerd, Podman and Docker find the name of an image where each of them looks', t => {
  const { archive, digest } = ociArchive(settings, layers)
  const [descriptor] = JSON.parse(read(archive, 'index.json').toString()).manifests
  t.deepEqual(descriptor.annotations, {
    'io.containerd.image.name': settings.reference,
    'org.opencontainers.image.ref.name': '1.2.3',
  })
  const [docker] = JSON.parse(read(archive, 'manifest.json').toString())
  t.deepEqual(docker.RepoTags, [settings.reference])
  const { config, layers: parts } = JSON.parse(blob(archive, digest).toString())
  t.is(docker.Config, `blobs/${config.digest.replace(':', '/')}`)
  t.is(docker.Layers.length, parts.length)
})

test('the same layers and settings give the same archive, and any other setting another digest', t => {
  const first = ociArchive(settings, layers)
  t.deepEqual(ociArchive({ ...settings }, [layer('lower'), layer('upper')]), first)
  const others: Partial<ImageSettings>[] = [
    { machine: 'arm64' },
    { created: '2026-01-02T03:04:06Z' },
    { entrypoint: ['/sh'] },
    { user: '0:0' },
    { env: [] },
    { labels: {} },
  ]
  for (const other of others) t.not(ociArchive({ ...settings, ...other }, layers).digest, first.digest)
})

const components: Component[] = [
  { name: 'margay', version: '1', license: 'Apache-2.0', purl: 'pkg:npm/margay@1' },
  {
    name: '@a/b',
    version: '2',
    license: 'MIT',
    purl: 'pkg:npm/%40a/b@2',
    checksum: { algorithm: 'SHA512', hex: '00' },
  },
  { name: 'libstdc++6', version: '3~x', license: 'MIT', purl: 'pkg:deb/debian/x', source: 'gcc-12 (12.2)' },
]

test('the SBOM has every field that SPDX 2.3 asks for, ids of its letters, and the image contains every part', t => {
  const image = { name: 'margay', version: '1', created: '2026-01-02T03:04:05Z', namespace: 'amd64-00' }
  // a JSON document: what it is read as counts
  const document = JSON.parse(JSON.stringify(spdxDocument(image, components)))
  const { packages, relationships, creationInfo } = document
  t.deepEqual(
    [document.spdxVersion, document.dataLicense, document.SPDXID],
    ['SPDX-2.3', 'CC0-1.0', 'SPDXRef-DOCUMENT'],
  )
  t.regex(document.documentNamespace, /^https:\/\/[^#]+$/)
  t.is(creationInfo.created, image.created)
  t.regex(creationInfo.creators[0], /^Tool: /)
  const ids: string[] = packages.map((each: { SPDXID: string }) => each.SPDXID)
  t.is(new Set(ids).size, components.length + 1)
  for (const each of packages) {
    t.regex(each.SPDXID, /^SPDXRef-[A-Za-z0-9.-]+$/)
    for (const field of ['name', 'versionInfo', 'downloadLocation', 'licenseDeclared', 'copyrightText'])
      t.is(typeof each[field], 'string', field)
  }
  const [root, ...parts] = ids
  t.deepEqual(
    relationships.map((each: Record<string, string>) => Object.values(each).join(' ')),
    [`SPDXRef-DOCUMENT DESCRIBES ${root}`, ...parts.map(part => `${root} CONTAINS ${part}`)],
  )
})
