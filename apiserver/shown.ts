// How an answer shows objects: whole, as rows of a table, or as their metadata alone (PartialObjectMetadata of meta/v1),
// which is nine tenths less of a Node. Pure.
import { emitJson } from '../api/json.ts'
import { apiVersion, type Kind, kindName, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import type { Stored } from './stored.ts'
import { type TableOptions, tableHead, tableOf, tableRow } from './tables.ts'

/** `version` is that of meta.k8s.io, as the client asked. */
export type Shown = { as: 'object' } | { as: 'metadata'; version: string } | ({ as: 'table' } & TableOptions)

/** The JSON text of one object. */
export function objectText(kind: Kind, stored: Stored, shown: Shown): string {
  if (shown.as === 'object') return stored.text
  if (shown.as === 'metadata') return metadataText(stored.metadata, shown.version)
  const { resourceVersion } = stored.metadata
  return emitJson(tableOf(kind, [stored.read()], { resourceVersion }, shown))
}

/** The head of a list, without its items, and the name of the field that they belong in. */
export function listHead(kind: Kind, metadata: Record<string, unknown>, shown: Shown): { head: object; items: string } {
  if (shown.as === 'table') return { head: tableHead(kind, metadata, shown), items: 'rows' }
  const type =
    shown.as === 'metadata'
      ? { kind: 'PartialObjectMetadataList', apiVersion: `meta.k8s.io/${shown.version}` }
      : { kind: `${kindName(kind)}List`, apiVersion: apiVersion(kinds[kind]) }
  return { head: { ...type, metadata }, items: 'items' }
}

/** The JSON text of an item of a list. */
export function itemText(kind: Kind, stored: Stored, shown: Shown): string {
  return shown.as === 'table' ? emitJson(tableRow(kind, stored.read(), shown)) : objectText(kind, stored, shown)
}

/** PartialObjectMetadata with this metadata. */
export function metadataText(metadata: AnyObject['metadata'], version: string): string {
  return emitJson({ kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata })
}
