// Changes and rules in the words of nft(8), for people: what is printed here, nft reads as the same thing.
import type { NftChain, NftChange, NftFlowtable, NftObject, NftRule, NftRuleset, NftSet } from '../../port/nftables.ts'
import type { ChainText } from '../../port/trace.ts'
import { addText } from './expressions.ts'
import { countedText, isStateful, rateText, statefulText } from './stateful.ts'
import { durationText, elementsText } from './statement-text.ts'
import { type SetLookup, TextState } from './text-state.ts'

/** A rule as `nft list` prints it. */
function ruleText(rule: NftRule, elementsOf: SetLookup): string {
  const state = new TextState(rule.family, elementsOf)
  for (const expression of rule.expressions) addText(expression, state)
  if (rule.comment !== undefined) state.say(`comment "${rule.comment}"`)
  return state.text()
}

/** The chains of what was read of a table, with their rules in words; comments stand beside these. */
export function chainTexts({ chains, rules, elements }: NftRuleset): ChainText[] {
  const byChain = Map.groupBy(rules, ({ chain }) => chain)
  const elementsOf: SetLookup = use => elements.find(({ set }) => set === use.set)
  return chains.map(({ name, base }) => {
    const texts = (byChain.get(name) ?? []).map(({ comment, ...rule }) => {
      const text = ruleText(rule, elementsOf)
      return [rule.handle ?? 0, { text, ...(comment !== undefined && { comment }) }] as const
    })
    return { chain: name, ...(base && { hook: base.hook, type: base.type }), rules: new Map(texts) }
  })
}

/** The command of nft(8) that does the change. `elementsOf` tells what anonymous sets hold, which are printed in rules. */
export function commandText({ verb, object }: NftChange, elementsOf: SetLookup): string {
  const command = `${verb} ${nameText(object)}`
  if (verb === 'flush') return command
  if (object.kind === 'elements') return `${command} ${elementsText(object)}`
  if (object.kind === 'devices') return `${command} { devices = { ${object.devices.join(', ')} }; }`
  if (verb === 'delete') return command
  switch (object.kind) {
    case 'table':
      return withBlock(command, commentLines(object))
    case 'chain':
      return withBlock(command, chainLines(object))
    case 'set':
      return withBlock(command, setLines(object))
    case 'rule':
      return `${command} ${ruleText(object, elementsOf)}`
    case 'object':
      return withBlock(command, [objectText(object), ...commentLines(object)])
    case 'flowtable':
      return withBlock(command, flowtableLines(object))
  }
}

function nameText(object: NftChange['object']): string {
  const { kind, family } = object
  if (kind === 'table') return `table ${family} ${object.name}`
  const within = `${family} ${object.table}`
  if (kind === 'elements') return `element ${within} ${object.set}`
  if (kind === 'set') return `${'data' in object && object.data !== undefined ? 'map' : 'set'} ${within} ${object.name}`
  if (kind === 'chain') return `chain ${within} ${object.name}`
  if (kind === 'object') return `${kindText(object.state)} ${within} ${object.name}`
  if (kind === 'flowtable') return `flowtable ${within} ${object.name}`
  if (kind === 'devices') return `flowtable ${within} ${object.flowtable}`
  const { handle, position } = object as NftRule
  const place = handle !== undefined ? ` handle ${handle}` : position !== undefined ? ` position ${position}` : ''
  return `rule ${within} ${object.chain}${place}`
}

function withBlock(command: string, lines: readonly string[]): string {
  return lines.length === 0 ? command : `${command} { ${lines.map(line => `${line};`).join(' ')} }`
}

function commentLines({ comment }: { comment?: string }): string[] {
  return comment === undefined ? [] : [`comment "${comment}"`]
}

function chainLines(chain: NftChain): string[] {
  const lines: string[] = []
  if (chain.base !== undefined) {
    const { type, hook, devices = [], priority, policy } = chain.base
    const device = devices.length === 0 ? '' : ` devices = { ${devices.join(', ')} }`
    lines.push(`type ${type} hook ${hook}${device} priority ${priority}`)
    if (policy !== undefined) lines.push(`policy ${policy}`)
  }
  return [...lines, ...commentLines(chain)]
}

function setLines(set: NftSet): string[] {
  const lines = [`type ${set.type}${set.data === undefined ? '' : ` : ${set.data}`}`]
  if (set.size !== undefined) lines.push(`size ${set.size}`)
  if (set.preferMemory) lines.push('policy memory')
  if (set.flags !== undefined && set.flags.length > 0) lines.push(`flags ${set.flags.join(',')}`)
  if (set.timeoutMs !== undefined) lines.push(`timeout ${durationText(set.timeoutMs)}`)
  if (set.gcIntervalMs !== undefined) lines.push(`gc-interval ${durationText(set.gcIntervalMs)}`)
  for (const step of set.expressions ?? [])
    lines.push(isStateful(step) ? statefulText(step, { bare: true }) : step.type)
  return [...lines, ...commentLines(set)]
}

/** nft's word for a kind of object; it has none for those that count connections. */
function kindText(state: { type: string; name?: string }): string {
  return state.type === 'opaque' ? `object ${state.name}` : state.type
}

function objectText({ state }: NftObject): string {
  if (state.type === 'counter') return countedText(state)
  if (state.type === 'limit') return rateText(state)
  return state.type === 'connlimit' ? statefulText(state) : (state.octets ?? '')
}

function flowtableLines({ priority, devices, flags = [] }: NftFlowtable): string[] {
  const lines = [`hook ingress priority ${priority}`]
  if (devices.length > 0) lines.push(`devices = { ${devices.join(', ')} }`)
  if (flags.includes('offload')) lines.push('flags offload')
  if (flags.includes('counter')) lines.push('counter')
  return lines
}
