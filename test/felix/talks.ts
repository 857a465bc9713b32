// Programs that talk to each other for long, over TCP and UDP, in the namespaces of pods and of hosts.
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { ANSWER_MS } from '../slowness.ts'

/** Answers every datagram, and every line of a connection; `push PORT ADDRESS` sends a datagram by itself. */
export const SERVER = `
  for (const type of ['udp4', 'udp6']) {
    const dgram = require('dgram').createSocket({ type, ipv6Only: type === 'udp6' })
    dgram.on('message', (text, { port, address }) => dgram.send(text, port, address)).bind(7)
  }
  const peers = new Set()
  require('net').createServer(s => {
    peers.add(s.on('data', text => s.write(text)).on('error', () => {}))
  }).listen(7, () => console.log('on'))
  process.stdin.on('data', () => { for (const s of peers) s.write('pushed\\n') })
`
/** Says each line of its input to the server over both, and prints what comes back. `source`: its own address. */
export const CLIENT = (address: string, source?: string) => `
  const dgram = require('dgram').createSocket('udp${address.includes(':') ? 6 : 4}').on('message', text => console.log('udp ' + text))
  dgram.on('error', e => console.log(e.code))
  ${source === undefined ? '' : `dgram.bind({ address: '${source}' })`}
  const tcp = require('net').connect({ host: '${address}', port: 7${source === undefined ? '' : `, localAddress: '${source}'`} }, () => console.log('on'))
  let left = ''
  tcp.on('error', e => console.log(e.code)).on('data', text => {
    for (const line of (left += text).split('\\n').slice(0, -1)) console.log('tcp ' + line)
    left = left.slice(left.lastIndexOf('\\n') + 1)
  })
  require('readline').createInterface({ input: process.stdin }).on('line', line => {
    tcp.write(line + '\\n')
    // a host is told of what it may not send
    dgram.send(line, 7, '${address}', () => {})
  })
`

export class Talk {
  readonly #child: ChildProcess
  readonly #heard = new Set<string>()
  readonly #waiting = new Map<string, () => void>()
  #said = 0

  constructor(child: ChildProcess) {
    this.#child = child
    createInterface({ input: child.stdout! }).on('line', line => {
      this.#heard.add(line)
      this.#waiting.get(line)?.()
    })
  }

  async hears(line: string, withinMs = ANSWER_MS): Promise<boolean> {
    if (this.#heard.has(line)) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#waiting.set(line, () => resolve(true))
    const timer = setTimeout(() => resolve(false), withinMs)
    const heard = await promise
    clearTimeout(timer)
    return heard
  }

  say(text: string): void {
    this.#child.stdin!.write(`${text}\n`)
  }

  /** Which of both is answered within `withinMs`: what is cut is silent. */
  async works(withinMs = ANSWER_MS): Promise<{ tcp: boolean; udp: boolean }> {
    const text = this.#line()
    const [tcp, udp] = await Promise.all([this.hears(`tcp ${text}`, withinMs), this.hears(`udp ${text}`, withinMs)])
    return { tcp, udp }
  }

  /** Whether the connection is answered within `withinMs`, whatever datagrams are. */
  async tcpWorks(withinMs = ANSWER_MS): Promise<boolean> {
    return this.hears(`tcp ${this.#line()}`, withinMs)
  }

  #line(): string {
    const text = `line ${this.#said++}`
    this.say(text)
    return text
  }

  end(): void {
    this.#child.kill('SIGKILL')
  }
}
