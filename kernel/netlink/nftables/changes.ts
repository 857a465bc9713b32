// Changes as messages: which operation and flags a verb is, per kind of object. A change is one message, or several for
// elements that do not fit one.
import type { NftChange, NftName } from '../../port/nftables.ts'
import type { NlWriter } from '../message.ts'
import { emitNfHeader, NFNL_SUBSYSTEM } from '../nfnetlink.ts'
import { NLM_F } from '../numbers.ts'
import type { Request } from '../requests.ts'
import { elementMessages, emitElementsHead } from './elements.ts'
import { count, optional, record, required, text, u32 } from './fields.ts'
import { emitFlowtable, flowtables } from './flowtables.ts'
import { NFPROTO, NFT_MSG } from './numbers.ts'
import { chains, rules, sets, tables } from './objects.ts'
import { objects, objectType } from './stateful-objects.ts'

/** The type of a message about an operation of nftables. */
export function messageType(operation: number): number {
  return (NFNL_SUBSYSTEM.nftables << 8) | operation
}

const ROWS = { table: tables, chain: chains, set: sets, rule: rules, object: objects, flowtable: flowtables } as const

const FLAGS = {
  add: NLM_F.create,
  create: NLM_F.create | NLM_F.excl,
  insert: NLM_F.create,
  replace: NLM_F.replace,
  delete: 0,
  flush: 0,
} as const satisfies Record<NftChange['verb'], number>

/** The requests that do a change, in order. Throws for values that cannot be written: names that are too long, odd words. */
export function requestsOf(change: NftChange): Request[] {
  const { verb, object } = change
  const to = (operation: number, flags: number, body: (w: NlWriter) => void): Request => ({
    type: messageType(operation),
    flags,
    body: w => {
      emitNfHeader(w, NFPROTO[object.family])
      body(w)
    },
  })
  if (verb === 'flush')
    return object.kind === 'chain'
      ? [to(rules.operation.remove, 0, w => rulesOfChain.emit(w, { table: object.table, chain: object.name }))]
      : [to(NFT_MSG.delSetElem, 0, w => emitElementsHead(w, { table: object.table, set: object.name }))]
  if (object.kind === 'elements') {
    const bare = verb === 'delete'
    const operation = bare ? NFT_MSG.delSetElem : NFT_MSG.newSetElem
    return elementMessages(object, { bare }).map(body => to(operation, FLAGS[verb], body))
  }
  if (object.kind === 'devices')
    return [to(flowtables.operation.remove, 0, w => emitFlowtable(w, { ...object, name: object.flowtable }))]
  if (verb === 'delete') return [to(ROWS[object.kind].operation.remove, 0, w => emitName(w, object))]
  switch (object.kind) {
    case 'table':
      return [to(tables.operation.make, FLAGS[verb], w => tables.emit(w, object))]
    case 'chain':
      return [to(chains.operation.make, FLAGS[verb], w => chains.emit(w, object))]
    case 'set':
      return [to(sets.operation.make, FLAGS[verb], w => sets.emit(w, object))]
    case 'rule': {
      // without this flag a rule goes first, or before the one at its position
      const flags = FLAGS[verb] | (verb === 'add' ? NLM_F.append : 0)
      return [to(rules.operation.make, flags, w => rules.emit(w, object))]
    }
    case 'object':
      return [to(objects.operation.make, FLAGS[verb], w => objects.emit(w, object))]
    case 'flowtable':
      return [to(flowtables.operation.make, FLAGS[verb], w => flowtables.emit(w, object))]
  }
}

const rulesOfChain = record<{ table: string; chain: string; handle?: number }>({
  table: required(1, text),
  chain: required(2, text),
  handle: optional(3, count),
})
const tableName = record<{ name: string }>({ name: required(1, text) })
const chainName = record<{ table: string; name: string }>({ table: required(1, text), name: required(3, text) })
/** Of sets, objects and flowtables. */
const nameInTable = record<{ table: string; name: string; objectType?: number }>({
  table: required(1, text),
  name: required(2, text),
  objectType: optional(3, u32),
})

/** What names an object, in a deletion and in a question for it. */
export function emitName(w: NlWriter, object: NftName): void {
  switch (object.kind) {
    case 'table':
      tableName.emit(w, object)
      break
    case 'chain':
      chainName.emit(w, object)
      break
    case 'set':
    case 'flowtable': {
      const { table, name } = object
      nameInTable.emit(w, { table, name })
      break
    }
    case 'object': {
      const { table, name, state } = object
      nameInTable.emit(w, { table, name, objectType: objectType(state) })
      break
    }
    case 'rule':
      rulesOfChain.emit(w, object)
      break
  }
}
