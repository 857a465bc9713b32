// What a selector demands of labels at least, so that it is asked only where that is there.
import type { Selector } from '../../api/selector.ts'

/** A label that is there: with this value, or with any when there is none. */
export type Demand = { label: string; value?: string }

/**
 * Labels that satisfy the selector satisfy one of these demands; there are none when no labels do. Undefined when no demand
 * can be told (`all()`, `a != "b"`). Where several answers are right it is the one with the lowest sum of costs.
 */
export function demandsOf(selector: Selector, costOf: (demand: Demand) => number): readonly Demand[] | undefined {
  const sum = (demands: readonly Demand[]) => demands.reduce((total, each) => total + costOf(each), 0)
  return find(selector)

  function find(of: Selector): readonly Demand[] | undefined {
    switch (of.op) {
      case '==':
        return [{ label: of.label, value: of.value }]
      case 'in':
        return [...new Set(of.values)].map(value => ({ label: of.label, value }))
      case 'has':
      case 'contains':
      case 'starts with':
      case 'ends with':
        return [{ label: of.label }]
      case 'not':
        return of.of.op === 'all' || of.of.op === 'global' ? [] : undefined
      case 'and': {
        let best: readonly Demand[] | undefined
        for (const each of of.of) {
          const demands = find(each)
          if (demands !== undefined && (best === undefined || sum(demands) < sum(best))) best = demands
        }
        return best
      }
      case 'or': {
        const parts = of.of.map(find)
        return parts.every(part => part !== undefined) ? distinct(parts.flat()) : undefined
      }
      default:
        return undefined
    }
  }
}

function distinct(demands: readonly Demand[]): Demand[] {
  return demands.filter(
    (each, i) => !demands.slice(0, i).some(({ label, value }) => label === each.label && value === each.value),
  )
}
