// Programs in containers of pods, run by the API server (`pods/exec`) over a WebSocket in which the first octet of each
// message names its stream. Their standard input stays open as long as the connection: a program that heeds its end is not left behind
// when this one is killed. What comes may be a node's own lies: nothing of it throws, and streams that nobody asked for are nothing.
import type { ClientRequest } from 'node:http'
import { isObject } from '../api/merge-patch.ts'
import { type AccessOptions, accessOf } from './credentials.ts'

export type PodProgram = { namespace: string; pod: string; container: string; command: readonly string[] }

export type PodRun = {
  /** Why it did not end well, on one line or more; undefined where it did. Never rejects. */
  ended: Promise<string | undefined>
  /** Ends the connection, and with it the program's standard input. */
  close(): void
}

/** Starts a program; `take` gets what it writes. Rejects with an Error that says why where it cannot be started. */
export type PodExec = (program: PodProgram, take: (from: 'out' | 'err', piece: Buffer) => void) => Promise<PodRun>

/** What is used of a WebSocket of `ws`, whose types are not installed. */
type Socket = {
  once(event: 'upgrade', act: () => void): void
  onmessage: (event: { data: unknown }) => void
  onclose: () => void
  terminate(): void
}

/** Octets of one message; servers send some 32 KiB. */
const MOST_MESSAGE = 1 << 20
const STREAM = { out: 1, err: 2, status: 3 } as const

/** Throws when no server is named, or a kubeconfig that cannot be read. */
export function openPodExec(options: AccessOptions): PodExec {
  const access = accessOf(options)
  const server = access.server.href.replace(/\/$/, '')
  return async ({ namespace, pod, container, command }, take) => {
    const { Exec, KubeConfig } = await import('@kubernetes/client-node')
    const config = new KubeConfig()
    config.loadFromClusterAndUser({ name: '', server, skipTLSVerify: false }, { name: '' })
    const query = new URLSearchParams({ container, stdin: 'true', stdout: 'true', stderr: 'true' })
    for (const word of command) query.append('command', word)
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(pod)}/exec?${query}`
    const ended = Promise.withResolvers<string | undefined>()
    const receive = ({ data }: { data: unknown }): void => {
      if (!Buffer.isBuffer(data) || data.length < 2) return
      const [stream, piece] = [data[0], data.subarray(1)]
      if (stream === STREAM.out || stream === STREAM.err) take(stream === STREAM.out ? 'out' : 'err', piece)
      else if (stream === STREAM.status) ended.resolve(whyFailed(piece.toString()))
    }
    // client-node's own way to read would throw at a message without an octet, and end our standard output where the other end says so:
    // it is replaced before the first message, which may come with the answer
    const finishRequest = (request: ClientRequest, socket: Socket): void => {
      socket.once('upgrade', () => Object.assign(socket, { onmessage: receive }))
      request.end()
    }
    config.applyToHTTPSOptions = async asked =>
      void Object.assign(asked, await access.authenticate(), { maxPayload: MOST_MESSAGE, finishRequest })
    const socket: Socket = await new Exec(config).handler
      .connect(path, null, null)
      .catch((event: { message?: string }) => {
        throw new Error(whyRefused(event.message ?? 'the API server cannot be reached'))
      })
    socket.onclose = () => ended.resolve('the connection to it ended')
    return { ended: ended.promise, close: () => socket.terminate() }
  }
}

function whyRefused(message: string): string {
  const [, status] = /^Unexpected server response: (\d{3})$/.exec(message) ?? []
  if (status === '401' || status === '403')
    return `the API server refuses (${status}): who asks needs the right to get and create pods/exec there`
  return status === undefined ? message : `the API server answers ${status}`
}

/** What a Status of the API says; older servers write a text. */
function whyFailed(text: string): string | undefined {
  let status: unknown
  try {
    status = JSON.parse(text)
  } catch {
    return text
  }
  if (!isObject(status)) return 'its end is not understood'
  if (status['status'] === 'Success') return undefined
  return typeof status['message'] === 'string' ? status['message'] : 'it failed'
}
