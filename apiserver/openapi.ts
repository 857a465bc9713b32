// OpenAPI as far as kubectl reads it. v3 tells it which kinds there are, what their fields are (`kubectl explain`) and
// that the server validates by itself; v2 is the older kubectl's protobuf, which says nothing about any kind, so that
// kubectl validates nothing and leaves that to the server. Sources: kubectl's query parameter verifier, gnostic's proto.
import * as z from 'zod'
import { apiVersion, type Kind, type KindRow, kindName, kinds } from '../api/kinds.ts'
import { withoutMeanings } from '../api/shapes/shape.ts'

/** The media type as clients ask for it, and as it is answered: an @ is no legal character of one, and Go says so. */
export const OPENAPI_V2_PROTOBUF = {
  asked: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
  answered: 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf',
} as const

const TITLE = 'margay-api'
const VERSION = 'v1'
const rows = Object.entries(kinds) as [Kind, KindRow][]

/** A gnostic v2 Document with nothing but its head: swagger(1) = "2.0", info(2) = { title(1), version(2) }. */
export function openApiV2Protobuf(): Uint8Array {
  const text = (field: number, value: Buffer): Buffer =>
    Buffer.concat([Buffer.of((field << 3) | 2, value.length), value])
  const info = Buffer.concat([text(1, Buffer.from(TITLE)), text(2, Buffer.from(VERSION))])
  return Buffer.concat([text(1, Buffer.from('2.0')), text(2, info)])
}

/** The same document as JSON. */
export function openApiV2(): object {
  return { swagger: '2.0', info: { title: TITLE, version: VERSION }, paths: {}, definitions: {} }
}

/** Documents that were made: to make one takes tens of milliseconds. */
const made = new Map<string, object>()

/** The index of v3 documents, or the one of a group and version; undefined when the path is neither. */
export function openApiV3(path: string): object | undefined {
  const known = made.get(path)
  if (known !== undefined) return known
  const document = madeOpenApiV3(path)
  if (document !== undefined) made.set(path, document)
  return document
}

function madeOpenApiV3(path: string): object | undefined {
  const roots = [...new Set(rows.map(([, row]) => rootOf(row)))]
  if (path === '/openapi/v3')
    return { paths: Object.fromEntries(roots.map(root => [root, { serverRelativeURL: `/openapi/v3/${root}` }])) }
  const root = path.slice('/openapi/v3/'.length)
  return roots.includes(root) ? documentOf(rows.filter(([, row]) => rootOf(row) === root)) : undefined
}

function rootOf(row: KindRow): string {
  return row.group === '' ? `api/${row.version}` : `apis/${row.group}/${row.version}`
}

function documentOf(members: readonly (readonly [Kind, KindRow])[]): object {
  return {
    openapi: '3.0.0',
    info: { title: TITLE, version: VERSION },
    paths: Object.fromEntries(members.flatMap(([kind, row]) => pathsOf(kind, row))),
    components: {
      schemas: Object.fromEntries(members.map(([kind, row]) => [schemaName(kind, row), schemaOf(kind, row)])),
    },
  }
}

function pathsOf(kind: Kind, row: KindRow): [string, object][] {
  const collection = `/${rootOf(row)}${row.namespaced ? '/namespaces/{namespace}' : ''}/${row.plural}`
  const operation = (action: string): object => ({
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': groupVersionKind(kind, row),
    parameters: ['dryRun', 'fieldManager', 'fieldValidation'].map(name => ({
      name,
      in: 'query',
      schema: { type: 'string' },
    })),
    responses: { 200: { description: 'OK', content: { 'application/json': { schema: reference(kind, row) } } } },
  })
  return [
    [collection, { get: operation('list'), post: operation('post') }],
    [
      `${collection}/{name}`,
      { get: operation('get'), put: operation('put'), patch: operation('patch'), delete: operation('delete') },
    ],
  ]
}

function groupVersionKind(kind: Kind, { group, version }: KindRow): object {
  return { group, version, kind: kindName(kind) }
}

function schemaName(kind: Kind, row: KindRow): string {
  return [...row.group.split('.').reverse(), row.version, kindName(kind)].filter(part => part !== '').join('.')
}

function reference(kind: Kind, row: KindRow): object {
  return { $ref: `#/components/schemas/${schemaName(kind, row)}` }
}

function bodyOf({ shape, schema }: KindRow): { properties: object } {
  if (shape !== undefined) {
    const { spec, status } = shape()
    const parts = { spec: withoutMeanings(spec), ...(status && { status: withoutMeanings(status) }) }
    return { ...{ type: 'object' }, properties: { metadata: { type: 'object' }, ...parts } }
  }
  // bigint and the checks that are code have no JSON schema: those stay open
  const json = z.toJSONSchema(schema, { io: 'input', target: 'openapi-3.0', unrepresentable: 'any' })
  const { $schema: _dialect, properties = {}, ...rest } = json
  return { ...rest, properties }
}

function schemaOf(kind: Kind, row: KindRow): object {
  const { properties: fields, ...body } = bodyOf(row)
  const properties = {
    apiVersion: { type: 'string', description: `always ${apiVersion(row)}` },
    kind: { type: 'string', description: `always ${kindName(kind)}` },
    ...fields,
  }
  return { ...body, properties, 'x-kubernetes-group-version-kind': [groupVersionKind(kind, row)] }
}
