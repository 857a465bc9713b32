// Tables, chains, sets and rules on the wire: one row per kind with the operations that make, read and remove it. Its
// attributes are a record; between the record and our value lie the words for types and the notes in userdata.
import type {
  NftChain,
  NftExpression,
  NftFamily,
  NftHook,
  NftRule,
  NftSet,
  NftSetFlag,
  NftTable,
} from '../../port/nftables.ts'
import type { Message, NlWriter } from '../message.ts'
import { NFGENMSG } from '../nfnetlink.ts'
import { expression, expressions, oneOrMore } from './expressions.ts'
import {
  absentIf,
  count,
  listOf,
  Malformed,
  octets,
  optional,
  type Parsed,
  parseSafely,
  record,
  required,
  text,
  u32,
  word,
} from './fields.ts'
import { type KeyType, setTypes, typeWords } from './keys.ts'
import { HOOKS, NFPROTO, NFT_DATA_VERDICT, NFT_MSG, NFT_SET_F } from './numbers.ts'
import { emitNotes, emitSetNotes, parseNotes, parseSetNotes } from './userdata.ts'

const FAMILIES = new Map(Object.entries(NFPROTO).map(([name, number]) => [number as number, name as NftFamily]))

/** Octets of a verdict in the kernel, as nft has the data length of verdict maps. */
const VERDICT_LENGTH = 16

/** Reads the body of a message about an object of a family. */
export function parseBody<T>({ body }: Message, parse: (family: NftFamily, attributes: Buffer) => T): Parsed<T> {
  return parseSafely(() => {
    const family = body.length < NFGENMSG ? undefined : FAMILIES.get(body[0]!)
    if (family === undefined) throw new Malformed('no header of a known family')
    return parse(family, body.subarray(NFGENMSG))
  })
}

const generation = record<{ id: number; pid?: number; name?: string }>({
  id: required(1, u32),
  pid: optional(2, u32),
  name: optional(3, text),
})

/** The generation of all rules in the namespace, which every transaction moves on, and whose transaction it was. */
export function parseGeneration({ body }: Message): Parsed<{ id: number; pid?: number; name?: string }> {
  return parseSafely(() => generation.parse(body.subarray(NFGENMSG))!)
}

const table = record<{ name: string; flags?: number; handle?: number; userdata?: string }>({
  name: required(1, text),
  flags: optional(2, absentIf(0, u32)),
  handle: optional(4, count),
  userdata: optional(6, octets),
})

const hook = record<{ number: number; priority: number; device?: string; devices?: readonly string[] }>({
  number: required(1, u32),
  priority: required(2, { ...u32, emit: (w, value) => w.u32be(value), parse: bytes => u32.parse(bytes)! | 0 }),
  device: optional(3, text),
  devices: optional(4, listOf(1, text)),
})

type WireChain = {
  table: string
  name: string
  handle?: number
  hook?: { number: number; priority: number; device?: string; devices?: readonly string[] }
  policy?: 'drop' | 'accept'
  type?: string
  userdata?: string
}

const chain = record<WireChain>({
  table: required(1, text),
  name: required(3, text),
  handle: optional(2, count),
  hook: optional(4, hook),
  policy: optional(5, word({ drop: 0, accept: 1 })),
  type: optional(7, text),
  userdata: optional(12, octets),
})

type WireDescription = { size?: number; parts?: readonly { length: number }[] }

type WireSet = {
  table: string
  name: string
  flags?: number
  keyType: number
  keyLength: number
  dataType?: number
  dataLength?: number
  policy?: number
  description?: WireDescription
  id?: number
  timeout?: number
  gcInterval?: number
  userdata?: string
  handle?: number
  expression?: NftExpression
  expressions?: readonly NftExpression[]
}

const set = record<WireSet>({
  table: required(1, text),
  name: required(2, text),
  flags: optional(3, absentIf(0, u32)),
  keyType: required(4, u32),
  keyLength: required(5, u32),
  dataType: optional(6, u32),
  dataLength: optional(7, u32),
  policy: optional(8, absentIf(0, u32)),
  description: optional(
    9,
    record<WireDescription>({
      size: optional(1, u32),
      parts: optional(2, listOf(1, record<{ length: number }>({ length: required(1, u32) }))),
    }),
  ),
  id: optional(10, u32),
  timeout: optional(11, count),
  gcInterval: optional(12, u32),
  userdata: optional(13, octets),
  handle: optional(16, count),
  expression: optional(17, expression),
  expressions: optional(18, expressions),
})

type WireRule = {
  table: string
  chain: string
  handle?: number
  expressions?: NftRule['expressions']
  position?: number
  userdata?: string
}

/** NFTA_RULE_EXPRESSIONS. */
export const RULE_EXPRESSIONS = 4

const rule = record<WireRule>({
  table: required(1, text),
  chain: required(2, text),
  handle: optional(3, count),
  expressions: optional(RULE_EXPRESSIONS, expressions),
  position: optional(6, count),
  userdata: optional(7, octets),
})

/** How one kind of object lies in messages. */
export type ObjectRow<T> = {
  operation: { make: number; read: number; remove: number }
  emit(w: NlWriter, object: T): void
  parse(message: Message): Parsed<T>
}

export const tables: ObjectRow<NftTable> = {
  operation: { make: NFT_MSG.newTable, read: NFT_MSG.getTable, remove: NFT_MSG.delTable },
  // a handle would be a question for the table that has it
  emit: (w, object) => table.emit(w, { ...object, handle: undefined, userdata: emitNotes(object) }),
  parse: message =>
    parseBody(message, (family, attributes) => {
      const { userdata, ...rest } = table.parse(attributes)!
      return { kind: 'table', family, ...rest, ...parseNotes(userdata) }
    }),
}

export const chains: ObjectRow<NftChain> = {
  operation: { make: NFT_MSG.newChain, read: NFT_MSG.getChain, remove: NFT_MSG.delChain },
  emit(w, object) {
    const { base } = object
    const wire: WireChain = { ...object, handle: undefined, userdata: emitNotes(object) }
    if (base !== undefined) {
      const { type, priority, policy, devices = [] } = base
      const number = (HOOKS[object.family] as Partial<Record<NftHook, number>>)[base.hook]
      if (number === undefined) throw new Error(`the family ${object.family} has no hook ${base.hook}`)
      const where = devices.length === 1 ? { device: devices[0] } : devices.length > 1 ? { devices } : {}
      Object.assign(wire, { type, policy, hook: { number, priority, ...where } })
    }
    chain.emit(w, wire)
  },
  parse: message =>
    parseBody(message, (family, attributes) => {
      const { userdata, hook: where, policy, type, ...rest } = chain.parse(attributes)!
      const out: NftChain = { kind: 'chain', family, ...rest, ...parseNotes(userdata) }
      if (where === undefined) return out
      const name = Object.entries(HOOKS[family]).find(([, number]) => number === where.number)?.[0]
      if (name === undefined || type === undefined) throw new Malformed(`chain ${rest.name}: hook ${where.number}`)
      out.base = { type, hook: name as NftHook, priority: where.priority }
      if (policy !== undefined) out.base.policy = policy
      const devices = where.devices ?? (where.device === undefined ? [] : [where.device])
      if (devices.length > 0) out.base.devices = devices
      return out
    }),
}

/** The flags that a set has words for; the others follow from its types. */
const SET_FLAGS: readonly NftSetFlag[] = ['anonymous', 'constant', 'interval', 'timeout', 'dynamic']

function setFlags({ flags = [], data }: Pick<NftSet, 'flags' | 'data'>, key: KeyType): number {
  const words = flags.reduce((sum, name) => sum | NFT_SET_F[name], 0)
  const joined = key.interval && key.parts.length > 1
  return words | (data === undefined ? 0 : NFT_SET_F.map) | (joined ? NFT_SET_F.concat : 0)
}

export const sets: ObjectRow<NftSet> = {
  operation: { make: NFT_MSG.newSet, read: NFT_MSG.getSet, remove: NFT_MSG.delSet },
  emit(w, object) {
    const { key, data } = setTypes(object)
    const joined = key.interval && key.parts.length > 1
    const parts = joined ? key.parts.map(part => ({ length: part.length ?? 0 })) : undefined
    set.emit(w, {
      table: object.table,
      name: object.name,
      flags: setFlags(object, key),
      keyType: key.number,
      keyLength: key.length,
      dataType: object.data === 'verdict' ? NFT_DATA_VERDICT : data?.number,
      dataLength: object.data === 'verdict' ? VERDICT_LENGTH : data?.length,
      policy: object.preferMemory ? 1 : undefined,
      description: object.size === undefined && parts === undefined ? undefined : { size: object.size, parts },
      // the kernel wants one of every set
      id: object.id ?? 0,
      timeout: object.timeoutMs,
      gcInterval: object.gcIntervalMs,
      ...oneOrMore(object.expressions),
      userdata: emitSetNotes(object, { key, data, isMap: object.data !== undefined }),
    })
  },
  parse: message =>
    parseBody(message, (family, attributes) => {
      const wire = set.parse(attributes)!
      const flags = wire.flags ?? 0
      const out: NftSet = { kind: 'set', family, table: wire.table, name: wire.name, type: typeWords(wire.keyType) }
      const words = SET_FLAGS.filter(name => flags & NFT_SET_F[name])
      if (words.length > 0) out.flags = words
      if (flags & NFT_SET_F.map && wire.dataType !== undefined)
        out.data = wire.dataType === NFT_DATA_VERDICT ? 'verdict' : typeWords(wire.dataType)
      const own = setTypes(out)
      if (own.key.length !== wire.keyLength) out.keyLength = wire.keyLength
      if (own.data !== undefined && own.data.length !== wire.dataLength) out.dataLength = wire.dataLength
      if (wire.description?.size !== undefined) out.size = wire.description.size
      if (wire.timeout !== undefined) out.timeoutMs = wire.timeout
      if (wire.gcInterval !== undefined) out.gcIntervalMs = wire.gcInterval
      if (wire.policy === 1) out.preferMemory = true
      const steps = wire.expression === undefined ? wire.expressions : [wire.expression]
      if (steps !== undefined) out.expressions = steps
      if (wire.handle !== undefined) out.handle = wire.handle
      return { ...out, ...parseSetNotes(wire.userdata, { ...own, isMap: out.data !== undefined }) }
    }),
}

export const rules: ObjectRow<NftRule> = {
  operation: { make: NFT_MSG.newRule, read: NFT_MSG.getRule, remove: NFT_MSG.delRule },
  emit: (w, object) => rule.emit(w, { ...object, userdata: emitNotes(object) }),
  parse: message =>
    parseBody(message, (family, attributes) => {
      // where dumps tell the rule before this one
      const { userdata, position: _, expressions: steps = [], ...rest } = rule.parse(attributes)!
      return { kind: 'rule', family, ...rest, expressions: steps, ...parseNotes(userdata) }
    }),
}

const inTable = record<{ table: string }>({ table: required(1, text) })

/** What a dump is asked to keep to. */
export function emitTableFilter(w: NlWriter, table: string): void {
  inTable.emit(w, { table })
}

/** The name of the table that an object's message is about, without reading the rest. */
export function tableOf(message: Message): Parsed<string> {
  return parseBody(message, (_, attributes) => inTable.parse(attributes)!.table)
}

/** The table that a notification about an object names; undefined where it is none that makes sense. */
export function changedTable(message: Message): Pick<NftTable, 'family' | 'name'> | undefined {
  const table = parseBody(message, (family, attributes) => ({ family, name: inTable.parse(attributes)!.table }))
  return table instanceof Malformed ? undefined : table
}
