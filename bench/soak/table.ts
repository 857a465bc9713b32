// What a soak prints: one table that can stand in a document as it is.
import { TARGETS, type TargetWord } from './ledger.ts'
import type { Outcome, Times } from './soak.ts'
import { LEAKS } from './world.ts'

type Row = readonly [what: string, figure: string]

/** Whether every count that must be zero is zero, and something was counted. */
export function isFine({ starts, lost, doubles, leaks, failed, alarms = [] }: Outcome): boolean {
  return starts > 0 && lost.length + doubles.length + leaks.length + failed.length + alarms.length === 0
}

export function outcomeTable(outcome: Outcome, { about, seed }: { about: string; seed: number }): string {
  const { starts, seconds, lost, doubles, leaks, failed, refused, kills, memory, alarms } = outcome
  const killed = [...kills].map(([victim, count]) => `${victim} ${count}`).join(', ')
  const rows: Row[] = [
    ['where', about],
    ['seed', String(seed)],
    ['starts', `${starts} in ${seconds.toFixed(0)} s, ${(starts / seconds).toFixed(1)} a second`],
    ['killed', killed === '' ? 'nothing' : killed],
    ...(refused === undefined
      ? []
      : [['ADDs that were refused meanwhile, and repeated', String(refused)] satisfies Row]),
    ['pods that never ran', String(failed.length)],
    ...(Object.entries(TARGETS) as [TargetWord, string][]).map(
      ([word, text]): Row => [
        `first packets lost, ${text}`,
        `${lost.filter(({ to }) => to === word).length} of ${starts}`,
      ],
    ),
    ['addresses held by two', String(doubles.length)],
    ...LEAKS.map((kind): Row => [`${kind} left`, String(leaks.filter(leak => leak.kind === kind).length)]),
    ...(alarms === undefined ? [] : [['false alarms of path probes', String(alarms.length)] satisfies Row]),
    ...timesRow('ADD', outcome.add),
    ...timesRow('from the making of a Pod to its last answer', outcome.start),
    ...timesRow('answers', outcome.firstAnswer),
    ...[...memory.start].map(([node, mib]): Row => {
      return [
        `memory of the agent of ${node}, start and end`,
        `${mib.toFixed(0)} / ${memory.end.get(node)?.toFixed(0)} MiB`,
      ]
    }),
  ]
  const width = Math.max(...rows.map(([what]) => what.length))
  return [['', ''] as const, ...rows]
    .map(([what, figure], i) =>
      i === 0 ? `| ${'what'.padEnd(width)} | figure |\n|---|---|` : `| ${what.padEnd(width)} | ${figure} |`,
    )
    .join('\n')
}

function timesRow(what: string, times: Times | undefined): Row[] {
  return times === undefined
    ? []
    : [[`${what}, p50 / p99 / longest`, [times.p50, times.p99, times.most].map(ms).join(' / ')]]
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`
}
