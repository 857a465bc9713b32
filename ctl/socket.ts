// Questions to the program behind a unix socket: margay-node's, or the control socket of margay-bgp. Several paths may
// be named for one question, since the two programs keep the same answer in different places.
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import * as z from 'zod'
import type { CommandOption, Options } from './command.ts'
import { Denied, NoAnswer, UsageError } from './failure.ts'

export const socketOption: CommandOption = {
  flags: '--socket <path>',
  summary: 'unix socket of margay-node, or of margay-bgp (control: in its file)',
  default: '/run/margay/agent.sock',
}

/** `owner` is the program that has the path, for the message when another one answers. */
export type SocketRequest = { method: 'GET' | 'POST'; path: string; owner: 'margay-node' | 'margay-bgp'; body?: object }

const TIMEOUT_MS = 10_000

/**
 * The answer to the first of `questions` that the program knows, read by `schema`. Rejects with `NoAnswer` when nobody
 * answers or the answer is not understood, `Denied` when the program refuses, `UsageError` when it is another program.
 */
export async function ask<T>(
  options: Options,
  schema: z.ZodType<T>,
  ...questions: readonly SocketRequest[]
): Promise<T> {
  const socket = String(options['socket'])
  for (const question of questions) {
    const { status, body } = await call(socket, question)
    if (status === 404) continue
    const value = parsedJson(body)
    if (status !== 200) throw refusal(socket, question, status, value)
    const result = schema.safeParse(value)
    if (result.success) return result.data
    const [{ path, message } = { path: [], message: 'unknown' }] = result.error.issues
    throw new NoAnswer(
      `${socket} answers ${question.path} with what this margayctl does not understand (${path.join('.')}: ${message}). ` +
        'Use the margayctl of the same version as the running program.',
    )
  }
  const owners = [...new Set(questions.map(({ owner }) => owner))].join(' or ')
  throw new UsageError(`the program behind ${socket} cannot answer that: give the socket of ${owners} with --socket`)
}

/** The answer to a question as text. Rejects as `ask`. */
export async function askText(options: Options, question: SocketRequest): Promise<string> {
  const socket = String(options['socket'])
  const { status, body } = await call(socket, question)
  if (status === 200) return body
  if (status !== 404) throw refusal(socket, question, status, parsedJson(body))
  throw new UsageError(`the program behind ${socket} cannot answer that: give the socket of ${question.owner}`)
}

/**
 * Writes what the program answers to `path`, which is there whole or not at all; how many octets. Rejects as `ask`, and
 * with `UsageError` when the file cannot be written.
 */
export async function download(options: Options, question: SocketRequest, path: string): Promise<number> {
  const socket = String(options['socket'])
  const response = await answer(socket, question)
  const status = response.statusCode ?? 0
  if (status !== 200) {
    const body = await text(response)
    if (status !== 404) throw refusal(socket, question, status, parsedJson(body))
    throw new UsageError(`the program behind ${socket} cannot answer that: give the socket of ${question.owner}`)
  }
  const part = `${path}.${process.pid}.part`
  const file = createWriteStream(part, { flags: 'wx', flush: true })
  try {
    await pipeline(response, file)
    await rename(part, path)
    return file.bytesWritten
  } catch (error) {
    await rm(part, { force: true })
    const { message, syscall, code } = error as NodeJS.ErrnoException
    // what ends the answer too early is a matter of the connection, everything else of the file
    if (code === 'ECONNRESET' || code === 'ETIMEDOUT' || code === 'ERR_STREAM_PREMATURE_CLOSE')
      throw new NoAnswer(`${socket} ended its answer too early (${message}); ${path} is not written. Try again.`)
    if (syscall === undefined) throw error
    throw new UsageError(`${path} cannot be written: ${message}. Name a file in a folder where you may write.`)
  }
}

/**
 * Calls `take` with each line that the program sends, read by `schema`, until `ended` resolves; without that to the end of its answer.
 * Rejects as `ask`, and with `NoAnswer` when the program ends its answer before `ended`.
 */
export async function followLines<T>(
  options: Options,
  schema: z.ZodType<T>,
  question: SocketRequest,
  take: (line: T) => void,
  ended?: Promise<void>,
): Promise<void> {
  const socket = String(options['socket'])
  const response = await answer(socket, question)
  const status = response.statusCode ?? 0
  if (status !== 200) {
    const body = await text(response)
    if (status !== 404) throw refusal(socket, question, status, parsedJson(body))
    throw new UsageError(`the program behind ${socket} cannot answer that: give the socket of ${question.owner}`)
  }
  if (response.headers['content-type'] !== LINES_TYPE)
    throw new UsageError(`the program behind ${socket} is of a version that cannot answer that: use its own margayctl`)
  if (ended !== undefined) response.socket.setTimeout(0)
  let isEnding = ended === undefined
  void ended?.then(() => {
    isEnding = true
    response.destroy()
  })
  try {
    const split = linesTo(line => {
      const result = schema.safeParse(parsedJson(line))
      // a later version may tell more
      if (result.success) take(result.data)
    })
    for await (const piece of response.setEncoding('utf8')) split(piece as string)
  } catch (error) {
    if (!isEnding || ended === undefined) throw new NoAnswer(unreached(socket, error as Error))
  }
  if (!isEnding) throw new NoAnswer(`${socket} ended its answer: the program behind it stopped. Ask again.`)
}

/** Calls `take` with each whole line of a text that comes in pieces. A line without an end, or of more than 1 MiB, is forgotten. */
export function linesTo(take: (line: string) => void): (piece: string) => void {
  let begun = ''
  return piece => {
    const lines = `${begun}${piece}`.split('\n')
    begun = lines.pop()!
    if (begun.length > LONGEST_LINE) begun = ''
    for (const line of lines) take(line)
  }
}

const LONGEST_LINE = 1 << 20
const LINES_TYPE = 'application/x-ndjson'

async function call(socketPath: string, question: SocketRequest): Promise<{ status: number; body: string }> {
  const response = await answer(socketPath, question)
  try {
    return { status: response.statusCode ?? 0, body: await text(response) }
  } catch (error) {
    throw new NoAnswer(unreached(socketPath, error as Error))
  }
}

/** The head of the answer; its body is the caller's to read. */
function answer(socketPath: string, { method, path, body }: SocketRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, timeout: TIMEOUT_MS }, resolve)
    asked.on('timeout', () => asked.destroy(Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' })))
    asked.on('error', error => reject(new NoAnswer(unreached(socketPath, error), { isAway: isAway(error) })))
    asked.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** There is no such socket, or nobody listens on it. */
function isAway({ code }: Error & { code?: string }): boolean {
  return code === 'ENOENT' || code === 'ECONNREFUSED'
}

function unreached(socket: string, { code, message }: Error & { code?: string }): string {
  switch (code) {
    case 'ENOENT':
      return `there is no socket ${socket}. Is margay-node running on this node? Name another socket with --socket.`
    case 'EACCES':
      return `${socket} may not be opened by this user. Run as root.`
    case 'ECONNREFUSED':
      return `nobody answers on ${socket}: the program that made it is gone, or it is no socket. Start margay-node.`
    case 'ETIMEDOUT':
      return `${socket} gives no answer in ${TIMEOUT_MS / 1000} s. Look at the log of the program behind it.`
    default:
      return `${socket} cannot be asked: ${message}. Is it the socket of margay-node or margay-bgp?`
  }
}

/** The value of a text; undefined for what is not JSON. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const problem = z.object({ error: z.string() })

function refusal(socket: string, { path }: SocketRequest, status: number, value: unknown): Error {
  const said = problem.safeParse(value).data?.error ?? `status ${status}`
  return status === 400
    ? new Denied(said)
    : new NoAnswer(`${socket} failed to answer ${path}: ${said}. Look at the log of the program behind it.`)
}
