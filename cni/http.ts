// HTTP endpoint POST /cni on the agent's unix socket. The socket's mode (0600) decides who may connect; the size and the
// form of a request are checked here.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CniDeps } from './deps.ts'
import { handleCni } from './handle.ts'
import type { RawRequest } from './request.ts'

/** The plugin sends at most 4 MiB of configuration; JSON in JSON doubles it at worst. */
const MOST_BODY = 16 * 1024 * 1024

/** Answers `POST /cni`. Never rejects: a malformed request gets 400, a too large one 413. */
export async function answerCni(request: IncomingMessage, response: ServerResponse, deps: CniDeps): Promise<void> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MOST_BODY) {
        response.writeHead(413, { connection: 'close' }).end()
        return
      }
      chunks.push(chunk)
    }
  } catch {
    return // the plugin closed the connection before its request was complete
  }
  const raw = parseRaw(Buffer.concat(chunks).toString('utf8'))
  if (raw === undefined) {
    response.writeHead(400, { connection: 'close' }).end()
    return
  }
  const body = JSON.stringify(await handleCni(raw, deps))
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
}

function parseRaw(text: string): RawRequest | undefined {
  try {
    const { env, stdin } = JSON.parse(text) as Partial<Record<string, unknown>>
    if (typeof stdin !== 'string' || typeof env !== 'object' || env === null) return undefined
    const entries = Object.entries(env as Record<string, unknown>)
    if (!entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')) return undefined
    return { env: Object.fromEntries(entries), stdin }
  } catch {
    return undefined
  }
}
