// An API server that is sick in a chosen way: margay-api behind a relay that spoils the answers to all requests or to some.
// Time of the agent is a manual clock; the exchange itself is real, so after each step of the clock what is under way may end.
import { sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ExecutionContext } from 'ava'
import { selfSigned } from '../../apiserver/certificate.ts'
import { type ApiServer, startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import type { Store } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'

/** What a request gets: an answer with this code and these headers, half of the true answer, no answer at all, no connection, or one by an expired certificate. */
export type Fault =
  | { code: number; headers?: Readonly<Record<string, string>> }
  | 'half an answer'
  | 'nothing'
  | 'away'
  | 'an expired certificate'

type KeyAndCertificate = { cert: string; key: string }

/** A request: method, path without its query, and when it came by the agent's clock. */
export type Seen = { what: string; atMs: number }

/** How long an agent waits for an answer that does not come: real time. */
const TIMEOUT_MS = 100
/** So many turns of the event loop without a request or an answer: nothing is under way. */
const QUIET_TURNS = 25
const STEP_MS = 1000

export class SickServer {
  readonly clock = new ManualClock(Date.now())
  /** What came since the last `sicken` or `heal`. */
  seen: Seen[] = []
  /** The server itself, as somebody sees it for whom it is well. */
  readonly healthy: Store
  readonly #api: ApiServer
  readonly #server: Server | TlsServer
  readonly #tls: { good: KeyAndCertificate; bad: KeyAndCertificate } | undefined
  readonly #sockets = new Set<Duplex>()
  #fault: { fault: Fault; where: RegExp } | undefined
  /** Requests that wait for their answer, and how often something happened. */
  #underWay = 0
  #happened = 0

  private constructor(api: ApiServer, tls: boolean) {
    this.#api = api
    this.healthy = openStore({ server: api.url, token: api.token })
    const good = tls ? selfSigned(['127.0.0.1'], Date.now()) : undefined
    this.#tls = good && { good, bad: expired(good) }
    this.#server = good ? new TlsServer(good) : createServer()
    this.#server.on('request', (incoming, answer) => this.#take(incoming, answer))
    this.#server.on('connection', socket => this.#track(socket))
  }

  /** `tls`: it can show a certificate that has expired. */
  static async start(t: ExecutionContext, { tls = false } = {}): Promise<SickServer> {
    const sick = new SickServer(await startApiServer(), tls)
    sick.#server.listen(0, '127.0.0.1')
    await once(sick.#server, 'listening')
    t.teardown(async () => {
      sick.#cut()
      sick.#server.close()
      await sick.healthy.close()
      await sick.#api.close()
    })
    return sick
  }

  /** A store of an agent, by its clock. `impatient`: it soon takes a server that says nothing for away. */
  store({ impatient = false } = {}): Store {
    const { port } = this.#server.address() as AddressInfo
    const tls = this.#tls
    return openStore({
      ...{ server: `http${tls ? 's' : ''}://127.0.0.1:${port}`, token: this.#api.token, clock: this.clock },
      ...(tls && { caData: `${tls.good.cert}${tls.bad.cert}` }),
      ...(impatient && { timeoutMs: TIMEOUT_MS }),
    })
  }

  /** From now on every request whose path with its query matches gets this, those that are under way and streams too. */
  sicken(fault: Fault, where: RegExp): void {
    this.#fault = { fault, where }
    this.seen = []
    this.#show(fault === 'an expired certificate' ? 'bad' : 'good')
    this.#cut()
  }

  heal(): void {
    this.#fault = undefined
    this.seen = []
    this.#show('good')
    this.#cut()
  }

  /** So much time goes by for the agent, and what comes of each part of it ends. */
  async pass(ms: number, stepMs = STEP_MS): Promise<void> {
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
      this.clock.advance(Math.min(stepMs, leftMs))
      await this.#quiet()
    }
  }

  /** Lets time go by until the promise is settled. */
  async during<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false
    const settled = () => {
      isSettled = true
    }
    promise.then(settled, settled)
    await this.#quiet()
    while (!isSettled) await this.pass(100, 100)
    return promise
  }

  /** Lets time go by until it holds, at the most so much. Whether it holds. */
  async until(holds: () => boolean | Promise<boolean>, mostMs: number): Promise<boolean> {
    for (let leftMs = mostMs; ; leftMs -= STEP_MS) {
      if (await holds()) return true
      if (leftMs <= 0) return false
      await this.pass(STEP_MS)
    }
  }

  async #quiet(): Promise<void> {
    let seen = -1
    for (let turns = 0; turns < QUIET_TURNS; turns++) {
      if (this.#underWay > 0 || seen !== this.#happened) turns = 0
      seen = this.#happened
      await new Promise(resolve => (this.#underWay > 0 ? setTimeout(resolve, 1) : setImmediate(resolve)))
    }
  }

  #show(which: 'good' | 'bad'): void {
    if (this.#server instanceof TlsServer && this.#tls) this.#server.setSecureContext(this.#tls[which])
  }

  #cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #track(socket: Duplex): void {
    this.#sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => this.#sockets.delete(socket))
    this.#happened++
    if (this.#fault?.fault === 'away') socket.destroy()
  }

  #take(incoming: IncomingMessage, answer: ServerResponse): void {
    const { method = '', url = '' } = incoming
    const path = url.split('?')[0]!
    this.seen.push({ what: `${method} ${path}`, atMs: this.clock.monotonicMs() })
    this.#begin(answer)
    const fault = this.#fault?.where.test(url) ? this.#fault.fault : undefined
    if (typeof fault === 'object') {
      incoming.resume()
      answer.writeHead(fault.code, { 'content-type': 'application/json', ...fault.headers })
      const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', message: `sick with ${fault.code}` }
      answer.end(JSON.stringify({ ...status, code: fault.code }))
    } else if (fault === 'nothing') incoming.resume()
    else this.#relay(incoming, answer, fault === 'half an answer')
  }

  /** A request is under way until its answer ends; of a watch, until it begins. */
  #begin(answer: ServerResponse): void {
    this.#happened++
    this.#underWay++
    let isOver = false
    const over = () => {
      if (!isOver) this.#underWay--
      isOver = true
      this.#happened++
    }
    answer.once('close', over)
    answer.once('streaming', over)
  }

  #relay(incoming: IncomingMessage, answer: ServerResponse, half: boolean): void {
    const { method = '', url = '', headers } = incoming
    const { hostname: host, port } = new URL(this.#api.url)
    const onward = request({ host, port, method, path: url, headers }, response => {
      answer.writeHead(response.statusCode!, response.headers)
      if (url.includes('watch=true')) {
        answer.flushHeaders()
        answer.emit('streaming')
        if (half) setImmediate(() => answer.destroy())
      }
      response.on('data', (bytes: Buffer) => {
        this.#happened++
        answer.write(half ? bytes.subarray(0, bytes.length / 2) : bytes)
        if (half) setImmediate(() => answer.destroy())
      })
      response.once('end', () => half || answer.end())
    })
    onward.on('error', () => answer.destroy())
    answer.on('close', () => onward.destroy())
    incoming.pipe(onward)
  }
}

/** The same certificate with an end in the past: RFC 5280 §4.1, signed anew. */
function expired({ cert, key }: KeyAndCertificate): KeyAndCertificate {
  const { raw } = new X509Certificate(cert)
  // 30 82 length u16 | what is signed: 30 82 length u16 ... | the algorithm: 30 length u8 ... | the signature
  const signed = Buffer.from(raw.subarray(4, 8 + raw.readUInt16BE(6)))
  const algorithm = raw.subarray(4 + signed.length, 6 + signed.length + raw[5 + signed.length]!)
  const utcTime = Buffer.of(0x17, 13)
  const end = signed.indexOf(utcTime, signed.indexOf(utcTime) + 1)
  signed.write('200101000000Z', end + utcTime.length, 'latin1')
  const signature = Buffer.concat([Buffer.of(0), sign('sha256', signed, key)])
  const parts = Buffer.concat([signed, algorithm, Buffer.of(3, signature.length), signature])
  const header = Buffer.of(0x30, 0x82, parts.length >> 8, parts.length & 255)
  const text = Buffer.concat([header, parts]).toString('base64')
  return { cert: `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`, key }
}
