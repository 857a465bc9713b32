// The body of a request: bounded, read whole, and parsed by its content type.
import type { IncomingMessage } from 'node:http'
import { parse as parseYaml } from 'yaml'
import { parseJson, smallIntegers } from '../api/json.ts'
import { isProtobuf, parseProtobuf } from './protobuf.ts'
import type { PatchFormat } from './resources.ts'
import { ApiError } from './status.ts'

const PATCH_FORMATS: Readonly<Record<string, PatchFormat>> = {
  'application/merge-patch+json': 'merge',
  'application/json-patch+json': 'json',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
}

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

/** The parsed body; undefined when there is none. Throws RequestEntityTooLarge, UnsupportedMediaType or BadRequest. */
export async function readBody(request: IncomingMessage, limitBytes: number): Promise<unknown> {
  const tooLarge = new ApiError('RequestEntityTooLarge', `the body is larger than ${limitBytes} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > limitBytes) throw tooLarge
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > limitBytes) throw tooLarge
    chunks.push(chunk)
  }
  if (size === 0) return undefined
  const bytes = Buffer.concat(chunks)
  if (isProtobuf(bytes)) return parseProtobuf(bytes)
  return parseText(request, bytes.toString('utf8'))
}

function parseText(request: IncomingMessage, text: string): unknown {
  // kubectl names no type for what it made itself
  const type = contentTypeOf(request) || 'application/json'
  try {
    if (type === 'application/json' || type.endsWith('+json')) return parseJson(text)
    if (type === 'application/yaml' || type.endsWith('+yaml'))
      return smallIntegers(parseYaml(text, { intAsBigInt: true }))
  } catch (error) {
    throw new ApiError('BadRequest', `the body cannot be read as ${type}: ${(error as Error).message}`)
  }
  throw unsupported(request, ['application/json', 'application/yaml'])
}

function unsupported(request: IncomingMessage, accepted: readonly string[]): ApiError {
  const type = contentTypeOf(request) || 'none'
  return new ApiError(
    'UnsupportedMediaType',
    `content type ${type} is not accepted here; these are: ${accepted.join(', ')}`,
  )
}
