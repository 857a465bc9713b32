// The body of a request: bounded in size and shape, read whole, and parsed by its content type. YAML is parsed in another
// thread; JSON, which `kubectl apply --server-side` sends under YAML's name, is not.
import type { IncomingMessage } from 'node:http'
import { parseJson } from '../api/json.ts'
import { jsonFault } from '../lib/json-fault.ts'
import type { BodyBudget } from './body-budget.ts'
import { type BodyLimit, checkShape } from './limits.ts'
import { isProtobuf, parseProtobuf } from './protobuf.ts'
import type { PatchFormat } from './resources.ts'
import { ApiError } from './status.ts'
import type { Asker } from './turns.ts'
import type { YamlReader } from './yaml-reader.ts'

const PATCH_FORMATS: Readonly<Record<string, PatchFormat>> = {
  'application/merge-patch+json': 'merge',
  'application/json-patch+json': 'json',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
}

export type BodyDeps = { budget: BodyBudget; yaml: YamlReader }

/** The media type of a request without its parameters; empty when there is none. */
function contentTypeOf(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
}

/** How a PATCH is to be applied. Throws UnsupportedMediaType. */
export function patchFormatOf(request: IncomingMessage): PatchFormat {
  const format = PATCH_FORMATS[contentTypeOf(request)]
  if (format === undefined) throw unsupported(request, Object.keys(PATCH_FORMATS))
  return format
}

/**
 * Reads the body; what it returns parses it, undefined when there is none. Rejects with RequestEntityTooLarge,
 * TooManyRequests, UnsupportedMediaType or BadRequest; parsing throws BadRequest.
 */
export async function readBody(
  request: IncomingMessage,
  { octets, values }: BodyLimit,
  asker: Asker,
  { budget, yaml }: BodyDeps,
): Promise<() => unknown> {
  const bytes = await bytesOf(request, octets, asker, budget)
  if (bytes.length === 0) return () => undefined
  if (isProtobuf(bytes)) return () => parseProtobuf(bytes)
  // kubectl names no type for what it made itself
  const type = contentTypeOf(request) || 'application/json'
  const text = bytes.toString('utf8')
  if (type === 'application/json' || type.endsWith('+json')) return () => parsed(text, type, values)
  if (type !== 'application/yaml' && !type.endsWith('+yaml'))
    throw unsupported(request, ['application/json', 'application/yaml'])
  if (isJson(text, values)) return () => parsed(text, type, values)
  const json = await yaml.read(asker, text)
  return () => parsed(json, type, values)
}

async function bytesOf(
  request: IncomingMessage,
  limitOctets: number,
  { user }: Asker,
  budget: BodyBudget,
): Promise<Buffer> {
  const tooLarge = new ApiError('RequestEntityTooLarge', `the body is larger than ${limitOctets} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > limitOctets) throw tooLarge
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      if (size + chunk.length > limitOctets) throw tooLarge
      budget.take(user, chunk.length)
      size += chunk.length
      chunks.push(chunk)
      await budget.pass(chunk.length)
    }
    return Buffer.concat(chunks)
  } finally {
    budget.giveBack(user, size)
  }
}

function isJson(text: string, mostValues: number): boolean {
  if (!/^\s*[[{]/.test(text)) return false
  try {
    checkShape(text, mostValues)
    JSON.parse(text)
    return true
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}

function parsed(text: string, type: string, mostValues: number): unknown {
  checkShape(text, mostValues)
  try {
    return parseJson(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new ApiError('BadRequest', `the body cannot be read as ${type}: it ${jsonFault(error)}`)
  }
}

function unsupported(request: IncomingMessage, accepted: readonly string[]): ApiError {
  const type = contentTypeOf(request) || 'none'
  return new ApiError(
    'UnsupportedMediaType',
    `content type ${type} is not accepted here; these are: ${accepted.join(', ')}`,
  )
}
