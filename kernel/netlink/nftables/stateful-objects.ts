// Objects with names on the wire: counters and limits that rules refer to (objref). Their data are the attributes of the
// expression of the same kind. A kind that Margay has no words for is kept: its number and its octets.
import { fromHex, toHex } from '../../../lib/bytes.ts'
import type { NftObject } from '../../port/nftables.ts'
import { NlWriter } from '../message.ts'
import { type Codec, count, octets, optional, record, required, text, Unknown, u32 } from './fields.ts'
import { NFT_MSG, OBJECT_TYPE } from './numbers.ts'
import { type ObjectRow, parseBody } from './objects.ts'
import { statefulRows } from './stateful.ts'
import { emitNotes, parseNotes } from './userdata.ts'

type WireObject = {
  table: string
  name: string
  type: number
  data?: Buffer
  handle?: number
  userdata?: string
}

const nested: Codec<Buffer> = { nested: true, emit: (w, value) => w.put(value), parse: bytes => bytes }

const wire = record<WireObject>({
  table: required(1, text),
  name: required(2, text),
  type: required(3, u32),
  data: optional(4, nested),
  handle: optional(6, count),
  userdata: optional(8, octets),
})

type State = NftObject['state']
type Kind = keyof typeof OBJECT_TYPE
const KINDS = new Map(Object.entries(OBJECT_TYPE).map(([name, number]) => [number as number, name as Kind]))

export const objects: ObjectRow<NftObject> = {
  operation: { make: NFT_MSG.newObject, read: NFT_MSG.getObject, remove: NFT_MSG.delObject },
  emit(w, { table, name, state, ...rest }) {
    wire.emit(w, { table, name, type: objectType(state), data: dataOf(state), userdata: emitNotes(rest) })
  },
  parse: message =>
    parseBody(message, (family, attributes) => {
      const { table, name, type, data, handle, userdata } = wire.parse(attributes)!
      const notes = { ...parseNotes(userdata), ...(handle !== undefined && { handle }) }
      return { kind: 'object', family, table, name, state: stateOf(type, data), ...notes }
    }),
}

/** NFT_OBJECT_*. Throws for an unknown kind whose name is no number. */
export function objectType(state: { type: State['type']; name?: string }): number {
  if (state.type !== 'opaque') return OBJECT_TYPE[state.type]
  const number = Number(state.name)
  if (!Number.isInteger(number)) throw new Error(`not a kind of object: ${state.name}`)
  return number
}

function dataOf(state: State): Buffer | undefined {
  if (state.type === 'opaque') return state.octets === undefined ? undefined : Buffer.from(fromHex(state.octets))
  const w = new NlWriter()
  attributesOf(state.type).emit(w, state)
  return w.done()
}

function stateOf(type: number, data: Buffer | undefined): State {
  const kind = KINDS.get(type)
  const opaque: State = { type: 'opaque', name: `${type}`, ...(data !== undefined && { octets: toHex(data) }) }
  if (kind === undefined || data === undefined) return opaque
  try {
    return { type: kind, ...attributesOf(kind).parse(data) } as State
  } catch (error) {
    if (error instanceof Unknown) return opaque
    throw error
  }
}

function attributesOf(kind: Kind): Codec<object> {
  return statefulRows[kind].attributes as unknown as Codec<object>
}
