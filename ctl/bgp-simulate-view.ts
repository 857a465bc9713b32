// What `bgp simulate` prints for people. Pure.
import { some } from '../agent/simulation/findings.ts'
import type { Loss, Report, SimulatedWay } from '../agent/simulation/report.ts'
import { renderTable } from './render.ts'

export type Simulated = Report & { losses: readonly Loss[] }

/** Rows of a table of routes, at the most. */
const MOST_ROWS = 1000

export function renderSimulation(
  { nodes, routers, sessions, routes, findings, losses }: Simulated,
  { each, eachLink }: { each: boolean; eachLink: boolean },
): string {
  const down = sessions.down === 0 ? '' : `, and ${sessions.down} ends of sessions are down`
  return [
    `${counted(nodes, 'node')}, ${counted(routers, 'router')}, ${counted(sessions.up, 'session')} up${down}\n`,
    table(
      ['NODE', 'PREFIX', 'OF', 'NEXT HOP', 'WHY'],
      routes.map(({ node, prefix, of = '', ways, why }) => [node, prefix, of, waysText(ways), why]),
    ),
    ...(findings.length === 0
      ? ['Nothing is wrong on paper.\n']
      : [
          renderTable(
            ['', 'REASON', 'MESSAGE', 'REMEDY'],
            findings.map(({ severity, reason, message, remedy }) => [severity, reason, message, remedy]),
          ),
        ]),
    ...(each && losses.length === 0
      ? ['There is no router, and no node passes routes on: nobody depends on another one.\n']
      : []),
    ...losses.map(loss => renderLoss(loss, { brief: each || eachLink })),
  ].join('\n')
}

function renderLoss({ without, changes, cutOff }: Loss, { brief }: { brief: boolean }): string {
  const count = (which: string) => changes.filter(({ change }) => change === which).length
  const sums = `${count('lost')} routes lost, ${count('moved')} moved, ${count('restored')} restored`
  const from = [...new Set(cutOff.map(each => each.from))]
  const to = [...new Set(cutOff.map(each => each.to))]
  const cut = cutOff.length === 0 ? 'nobody is cut off' : `${some(from)} cut off from ${some(to)}`
  const head = `Without ${without.join(', ')}: ${sums}; ${cut}\n`
  if (brief || changes.length === 0) return head
  return `${head}\n${table(
    ['NODE', 'PREFIX', 'CHANGE', 'BEFORE', 'AFTER'],
    changes.map(({ node, prefix, change, before, after }) => [node, prefix, change, waysText(before), waysText(after)]),
  )}`
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length <= MOST_ROWS) return renderTable(headings, rows)
  return `${rows.length} routes: choose with --node and --prefix, or take -o json\n`
}

function waysText(ways: readonly SimulatedWay[]): string {
  if (ways.length === 0) return 'none'
  const text = ({ nextHop, through, way }: SimulatedWay) =>
    `${nextHop}${through === undefined ? '' : ` (${through})`}${way === 'direct' ? '' : ` ${way}`}`
  return ways.map(text).join(', ')
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
