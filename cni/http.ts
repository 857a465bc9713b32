// HTTP endpoints POST /cni and POST /ipam on the agent's unix socket. The socket's mode (0600) decides who may connect; the size and the
// form of a request are checked here.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Cancel } from '../lib/clock.ts'
import type { CniDeps } from './deps.ts'
import { handleCni } from './handle.ts'
import type { RawRequest, Whose } from './request.ts'

/** The plugin sends at most 4 MiB of configuration; JSON in JSON doubles it at worst. */
const MOST_BODY = 16 * 1024 * 1024

/** How often the plugin hears that its request is being worked on: it gives an agent up that says nothing for long. */
const SIGN_OF_LIFE_MS = 2_000

/**
 * Answers a request of the plugin, about `whose` configuration its name and so the path says: the head at once, a space every two seconds, then the answer as JSON. Never rejects: a malformed
 * request gets 400, a too large one 413.
 */
export async function answerCni(
  request: IncomingMessage,
  response: ServerResponse,
  deps: CniDeps,
  whose: Whose = 'our',
): Promise<void> {
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
  response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
  let stop: Cancel
  const signOfLife = (): void => {
    response.write(' ')
    stop = deps.clock.after(SIGN_OF_LIFE_MS, signOfLife)
  }
  stop = deps.clock.after(SIGN_OF_LIFE_MS, signOfLife)
  const gone = Promise.withResolvers<void>()
  response.once('close', gone.resolve)
  const answer = await handleCni(raw, deps, gone.promise, whose)
  stop()
  response.end(JSON.stringify(answer))
}

function parseRaw(text: string): RawRequest | undefined {
  try {
    const { env, stdin, netns, delegated } = JSON.parse(text) as Partial<Record<string, unknown>>
    if (typeof stdin !== 'string' || typeof env !== 'object' || env === null) return undefined
    const entries = Object.entries(env as Record<string, unknown>)
    if (!entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')) return undefined
    if (netns !== undefined && !(Number.isSafeInteger(netns) && Number(netns) > 0)) return undefined
    if (delegated !== undefined && typeof delegated !== 'string') return undefined
    return {
      ...{ env: Object.fromEntries(entries), stdin },
      ...(netns !== undefined && { netns: Number(netns) }),
      ...(delegated !== undefined && { delegated }),
    }
  } catch {
    return undefined
  }
}
