// What the image is made of, as an SPDX 2.3 document in JSON. Pure.

/** One part that somebody else made, or the project itself (the first one). `purl` names it for scanners. */
export type Component = {
  name: string
  version: string
  /** An expression of SPDX, or NOASSERTION. */
  license: string
  purl: string
  /** The digest of what was fetched, where it came as one file. */
  checksum?: { algorithm: 'SHA256' | 'SHA512'; hex: string }
  /** The source package that Debian made it of. */
  source?: string
}

/** The document: the image contains every component. `namespace` is the part that makes its address unique; `created` RFC 3339. */
export function spdxDocument(
  image: { name: string; version: string; created: string; namespace: string },
  components: readonly Component[],
): object {
  const packages = components.map(({ name, version, license, purl, checksum, source }) => ({
    SPDXID: `SPDXRef-${`${name}-${version}`.replace(/[^A-Za-z0-9.-]/g, '-')}`,
    name,
    versionInfo: version,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: 'NOASSERTION',
    licenseDeclared: license,
    copyrightText: 'NOASSERTION',
    ...(source === undefined ? {} : { sourceInfo: `built by Debian from the source package ${source}` }),
    ...(checksum === undefined ? {} : { checksums: [{ algorithm: checksum.algorithm, checksumValue: checksum.hex }] }),
    externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl }],
  }))
  const root = {
    SPDXID: 'SPDXRef-image',
    name: image.name,
    versionInfo: image.version,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: 'NOASSERTION',
    licenseDeclared: 'NOASSERTION',
    copyrightText: 'NOASSERTION',
    primaryPackagePurpose: 'CONTAINER',
  }
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `${image.name}-${image.version}`,
    documentNamespace: `https://spdx.org/spdxdocs/${image.name}-${image.version}-${image.namespace}`,
    creationInfo: { created: image.created, creators: ['Tool: margay-image'] },
    packages: [root, ...packages],
    relationships: [
      { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: 'SPDXRef-image' },
      ...packages.map(({ SPDXID }) => ({
        spdxElementId: 'SPDXRef-image',
        relationshipType: 'CONTAINS',
        relatedSpdxElement: SPDXID,
      })),
    ],
  }
}
