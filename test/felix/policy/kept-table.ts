// The table that the differences of the calculation of policy add up to, as a dump would have it.
import type { PolicyDifferences } from '../../../felix/policy/calculator.ts'
import { dispatch } from '../../../felix/policy/dispatch.ts'
import { type NftElements, type NftSet, type NftVerdict, typesOf } from '../../../kernel/port/nftables.ts'
import { INLINE_SET, type NftChainProgram } from '../../../kernel/reconcile/nft-state.ts'
import type { Table } from '../../policy/interpreter.ts'

export const TABLE = { family: 'inet', table: 'margay' } as const

export class KeptTable {
  readonly #fixed = dispatch(TABLE, 'cali')
  readonly sets = new Map<string, NftSet>()
  readonly elements = new Map<string, Set<string>>()
  readonly chains = new Map<string, NftChainProgram>()
  readonly interfaces = new Map<string, Map<string, NftVerdict>>()

  /** Throws where something comes that is there, or goes that is not. */
  apply({ sets, elements, chains, interfaces }: PolicyDifferences): void {
    for (const [name, set] of sets) {
      if ((set === undefined) !== this.sets.has(name)) throw new Error(`set ${name} comes or goes twice`)
      this.elements.delete(name)
      this.interfaces.delete(name)
      if (set === undefined) this.sets.delete(name)
      else {
        this.sets.set(name, set)
        this.elements.set(name, new Set())
      }
    }
    for (const [name, { added, removed }] of elements) {
      const held = this.elements.get(name)!
      for (const key of removed) if (!held.delete(key)) throw new Error(`${key} is not in ${name}`)
      for (const key of added) {
        if (held.has(key)) throw new Error(`${key} is in ${name}`)
        held.add(key)
      }
    }
    for (const [name, program] of chains) put(this.chains, name, program)
    for (const [map, verdicts] of interfaces) {
      const held = this.interfaces.get(map) ?? new Map<string, NftVerdict>()
      this.interfaces.set(map, held)
      for (const [name, verdict] of verdicts) put(held, name, verdict)
    }
  }

  /** All of it in one form and order, to be compared. */
  shown(): unknown {
    const sorted = <V>(map: ReadonlyMap<string, V>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1))
    return {
      sets: sorted(this.sets),
      elements: sorted(this.elements).map(([name, keys]) => [name, [...keys].sort()]),
      chains: sorted(this.chains),
      interfaces: sorted(this.interfaces).flatMap(([name, verdicts]) => sorted(verdicts).map(each => [name, each])),
    }
  }

  /** For the interpreter: the sets of single rules have numbers of their own. */
  table(): Table {
    const programs = [...this.#fixed.chains, ...this.chains.values()]
    const sets: NftSet[] = [...this.#fixed.sets, ...this.sets.values()]
    const elements: NftElements[] = []
    for (const set of sets) {
      const keys = [...(this.elements.get(set.name) ?? [])].map(key => ({ key: key.split(' . ') }))
      const verdicts = [...(this.interfaces.get(set.name) ?? [])].map(([name, data]) => ({ key: [name], data }))
      elements.push({ kind: 'elements', ...TABLE, set: set.name, ...typesOf(set), elements: [...keys, ...verdicts] })
    }
    let lastId = 0
    const rules = programs.flatMap(program => {
      const from = lastId
      for (const { id, type, flags, elements: own } of program.inline ?? []) {
        lastId = Math.max(lastId, from + id)
        const set: NftSet = { kind: 'set', ...TABLE, name: INLINE_SET, type, flags, id: from + id }
        sets.push(set)
        elements.push({
          kind: 'elements',
          ...TABLE,
          set: INLINE_SET,
          setId: from + id,
          ...typesOf(set),
          elements: own,
        })
      }
      return program.rules.map(rule => ({
        ...rule,
        expressions: rule.expressions.map(step =>
          step.type === 'lookup' && step.setId !== undefined ? { ...step, setId: from + step.setId } : step,
        ),
      }))
    })
    return { chains: programs.map(({ chain }) => chain), sets, elements, rules }
  }
}

function put<V>(map: Map<string, V>, key: string, value: V | undefined): void {
  if (value === undefined) map.delete(key)
  else map.set(key, value)
}
