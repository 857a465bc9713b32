// The books of a soak: who holds which address, what came of the first packets, and how long each ADD took. Pure.
import { addressBytes, familyOf, formatAddress } from '../../lib/ip.ts'

/** Whom the first instruction of a pod sends to, by the word that its program has for it. */
export const TARGETS = {
  other4: 'to a pod on another node, IPv4',
  other6: 'to a pod on another node, IPv6',
  own4: 'to a pod on its own node, IPv4',
  own6: 'to a pod on its own node, IPv6',
  service4: 'to a Service, IPv4',
  service6: 'to a Service, IPv6',
  outside4: 'to a host outside, IPv4',
  outside6: 'to a host outside, IPv6',
} as const

export type TargetWord = keyof typeof TARGETS

/**
 * `addresses`: from which it sent, one of each family. `asked`: whom, by address. `answered`: milliseconds, or why no answer
 * came. `addMs`: of the ADD; where a kubelet calls it, `startMs`: from the making of the Pod until it has been answered.
 */
export type Start = {
  pod: string
  node: string
  addresses: readonly string[]
  addMs?: number
  startMs?: number
  asked: Readonly<Record<TargetWord, string>>
  answered: Readonly<Record<TargetWord, number | string>>
}

export type Lost = {
  pod: string
  node: string
  to: TargetWord
  asked: string
  why: string
  atMs: number
}
export type Double = { address: string; pods: readonly [holder: string, other: string]; atMs: number }

export class Ledger {
  starts = 0
  readonly lost: Lost[] = []
  readonly doubles: Double[] = []
  readonly addMs: number[] = []
  readonly startMs: number[] = []
  /** Every address that a pod had. */
  readonly given = new Set<string>()
  readonly #held = new Map<string, string>()

  started({ pod, node, addresses, addMs, startMs, asked, answered }: Start, atMs: number): void {
    this.starts++
    if (startMs !== undefined) this.startMs.push(startMs)
    if (addMs !== undefined) this.addMs.push(addMs)
    for (const address of addresses) {
      const holder = this.#held.get(address)
      if (holder !== undefined) this.doubles.push({ address, pods: [holder, pod], atMs })
      this.#held.set(address, pod)
      this.given.add(address)
    }
    for (const to of Object.keys(TARGETS) as TargetWord[]) {
      const answer = answered[to]
      if (typeof answer === 'string') this.lost.push({ pod, node, to, asked: asked[to], why: answer, atMs })
    }
  }

  /** The runtime begins to take the pod away: from now on its addresses may be another one's. */
  ending({ pod, addresses }: Pick<Start, 'pod' | 'addresses'>): void {
    for (const address of addresses) if (this.#held.get(address) === pod) this.#held.delete(address)
  }
}

/** The least value that so many percent of all do not exceed; undefined where there is none. */
export function percentile(values: readonly number[], percent: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]
}

/** What `first-packets` says of a pod: `[add=US] NAME WORD=FROM:US|lost|errno:N ...`. Throws for anything else. */
export function parseStart(line: string, { node, asked }: Pick<Start, 'node' | 'asked'>): Start {
  const words = line.trim().split(' ')
  const add = /^add=(\d+)$/.exec(words[0]!)
  const [pod = '', ...pairs] = add === null ? words : words.slice(1)
  const answered: Partial<Record<TargetWord, number | string>> = {}
  const addresses = new Set<string>()
  for (const pair of pairs) {
    const [, word, from, said] = /^(\w+)=([0-9a-f]{32}):(\d+|lost|errno:\d+)$/.exec(pair) ?? []
    if (word === undefined || !isTarget(word)) throw new Error(`a pod said: ${line}`)
    answered[word] = /^\d+$/.test(said!) ? Number(said) / 1000 : said!
    const address = addressOfHex(from!)
    if (address !== ANY) addresses.add(address)
  }
  if (!isWhole(answered)) throw new Error(`a pod said: ${line}`)
  return {
    pod,
    node,
    addresses: [...addresses],
    asked,
    answered,
    ...(add !== null && { addMs: Number(add[1]) / 1000 }),
  }
}

/** The words for `first-packets`: whom it asks, by address, at one port. */
export function targetWords(asked: Readonly<Record<TargetWord, string>>, port: number): string[] {
  return Object.entries(asked).map(([word, address]) => `${word}=${hexOfAddress(address)}:${port}`)
}

const ANY = '::'
/** Of an IPv4 address that is written as an IPv6 one (RFC 4291 section 2.5.5.2). */
const MAPPED = '00000000000000000000ffff'

function hexOfAddress(address: string): string {
  const hex = Buffer.from(addressBytes(address)).toString('hex')
  return familyOf(address) === 'ipv4' ? MAPPED + hex : hex
}

function addressOfHex(hex: string): string {
  return formatAddress(Buffer.from(hex.startsWith(MAPPED) ? hex.slice(MAPPED.length) : hex, 'hex'))
}

function isTarget(word: string): word is TargetWord {
  return Object.hasOwn(TARGETS, word)
}

function isWhole(
  answered: Partial<Record<TargetWord, number | string>>,
): answered is Record<TargetWord, number | string> {
  return Object.keys(TARGETS).every(word => Object.hasOwn(answered, word))
}
