// Metrics in Prometheus' text format, version 0.0.4: written afresh for each scrape from a table that has the type, the help
// and the labels of every metric. Hazards: a value of a label with a quote or a line end in it; a label whose values have no
// bound, which costs every Prometheus that reads it.

type MetricType = 'gauge' | 'counter' | 'summary'

/** `calico`: Calico has a metric of this name, with the same meaning and labels, and its dashboards ask for it. */
export type MetricRow<T extends MetricType = MetricType, L extends readonly string[] = readonly string[]> = {
  type: T
  help: string
  labels: L
  calico: boolean
}

export function gauge<const L extends readonly string[] = []>(help: string, ...labels: L): MetricRow<'gauge', L> {
  return { type: 'gauge', help, labels, calico: false }
}

export function counter<const L extends readonly string[] = []>(help: string, ...labels: L): MetricRow<'counter', L> {
  return { type: 'counter', help, labels, calico: false }
}

/** How often something was measured, and the sum of what was: without quantiles. */
export function summary<const L extends readonly string[] = []>(help: string, ...labels: L): MetricRow<'summary', L> {
  return { type: 'summary', help, labels, calico: false }
}

/** The same row for a metric that Calico has too. */
export function calico<R extends MetricRow>(row: R): R {
  return { ...row, calico: true }
}

type Table = Readonly<Record<string, MetricRow>>
type LabelsOf<R extends MetricRow> = { readonly [L in R['labels'][number]]: string }
type ValueOf<R extends MetricRow> = R['type'] extends 'summary' ? { sum: number; count: number } : number

/** What Prometheus and other readers of this text ask for. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export class MetricsText<T extends Table> {
  readonly #table: T
  readonly #lines = new Map<string, string[]>()

  constructor(table: T) {
    this.#table = table
  }

  /** Sets one series. Its labels are those of the table, each with a value. */
  set<N extends keyof T & string>(
    name: N,
    value: ValueOf<T[N]>,
    ...[labels]: T[N]['labels'] extends readonly [] ? [] : [labels: LabelsOf<T[N]>]
  ): void {
    const lines = this.#lines.get(name) ?? []
    this.#lines.set(name, lines)
    const text = labelsText(this.#table[name]!.labels, labels)
    const given: number | { sum: number; count: number } = value
    if (typeof given === 'number') lines.push(`${name}${text} ${given}\n`)
    else lines.push(`${name}_sum${text} ${given.sum}\n${name}_count${text} ${given.count}\n`)
  }

  /** The text. Each metric with a series has one HELP and one TYPE line before all of its series. */
  toString(): string {
    let text = ''
    for (const [name, { help, type }] of Object.entries(this.#table)) {
      const lines = this.#lines.get(name)
      if (lines === undefined) continue
      text += `# HELP ${name} ${escaped(help, false)}\n# TYPE ${name} ${type}\n${lines.join('')}`
    }
    return text
  }
}

/**
 * The first `most` by their names, and the others, to be told as one sum. Where all fit there are no others; else the sum
 * takes the place of one, so that there are never more than `most`.
 */
export function firstAndRest<T>(
  all: readonly T[],
  most: number,
  nameOf: (item: T) => string,
): { first: readonly T[]; rest: readonly T[] } {
  const sorted = all.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
  const count = all.length <= most ? most : most - 1
  return { first: sorted.slice(0, count), rest: sorted.slice(count) }
}

function labelsText(names: readonly string[], labels: Readonly<Record<string, string>> | undefined): string {
  if (labels === undefined || names.length === 0) return ''
  return `{${names.map(name => `${name}="${escaped(labels[name] ?? '', true)}"`).join(',')}}`
}

function escaped(text: string, quotes: boolean): string {
  if (!/[\\\n"]/.test(text)) return text
  const lines = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
  return quotes ? lines.replaceAll('"', '\\"') : lines
}
