// The books of a soak: who holds which address, what came of the first packets, and how long each ADD took. Pure.

/** Whom the first instruction of a pod sends to, by the word that its program has for it. */
export const TARGETS = {
  other: 'to a pod on another node',
  own: 'to a pod on its own node',
  service: 'to a Service',
  outside: 'to a host outside',
} as const

export type TargetWord = keyof typeof TARGETS

/**
 * `asked`: whom, by address. `answered`: milliseconds, or why no answer came. `addMs`: of the ADD; where a kubelet calls it, `startMs`:
 * from the making of the Pod until it has been answered.
 */
export type Start = {
  pod: string
  node: string
  address: string
  addMs?: number
  startMs?: number
  asked: Readonly<Record<TargetWord, string>>
  answered: Readonly<Record<TargetWord, number | string>>
}

export type Lost = {
  pod: string
  node: string
  address: string
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

  started({ pod, node, address, addMs, startMs, asked, answered }: Start, atMs: number): void {
    this.starts++
    if (startMs !== undefined) this.startMs.push(startMs)
    if (addMs !== undefined) this.addMs.push(addMs)
    const holder = this.#held.get(address)
    if (holder !== undefined) this.doubles.push({ address, pods: [holder, pod], atMs })
    this.#held.set(address, pod)
    this.given.add(address)
    for (const to of Object.keys(TARGETS) as TargetWord[]) {
      const answer = answered[to]
      if (typeof answer === 'string') this.lost.push({ pod, node, address, to, asked: asked[to], why: answer, atMs })
    }
  }

  /** The runtime begins to take the pod away: from now on its address may be another one's. */
  ending({ pod, address }: Pick<Start, 'pod' | 'address'>): void {
    if (this.#held.get(address) === pod) this.#held.delete(address)
  }

  held(address: string): boolean {
    return this.#held.has(address)
  }

  lostTo(to: TargetWord): number {
    return this.lost.filter(each => each.to === to).length
  }
}

/** The least value that so many percent of all do not exceed; undefined where there is none. */
export function percentile(values: readonly number[], percent: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]
}

/** What `first-packets` says of a pod: `[add=US] NAME own=ADDRESS WORD=US|lost|errno:N ...`. Throws for anything else. */
export function parseStart(line: string, { node, asked }: Pick<Start, 'node' | 'asked'>): Start {
  const words = line.trim().split(' ')
  const add = /^add=(\d+)$/.exec(words[0]!)
  const [pod = '', ...pairs] = add === null ? words : words.slice(1)
  const { self, ...answers } = Object.fromEntries(pairs.map(pair => pair.split('=', 2) as [string, string]))
  const whole = Object.keys(TARGETS).every(word => answers[word] !== undefined)
  if (self === undefined || !whole) throw new Error(`a pod said: ${line}`)
  const answered = Object.fromEntries(
    Object.entries(answers).map(([word, said]) => [word, /^\d+$/.test(said) ? Number(said) / 1000 : said]),
  ) as Record<TargetWord, number | string>
  return { pod, node, address: self, asked, answered, ...(add !== null && { addMs: Number(add[1]) / 1000 }) }
}
