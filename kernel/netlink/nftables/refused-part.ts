// What of a change the kernel objects to. It names an octet of the message (NLMSGERR_ATTR_OFFS), where an attribute begins:
// from this follows which element of many, which expression of a rule, or that it is the table, chain or set that is named.
import type { NftChange, NftRefusal } from '../../port/nftables.ts'
import { NlWriter } from '../message.ts'
import { NFGENMSG } from '../nfnetlink.ts'
import { NLA_F } from '../numbers.ts'
import type { Request } from '../requests.ts'
import { ELEMENTS, elementOfWire } from './elements.ts'
import { RULE_EXPRESSIONS } from './objects.ts'

/** Octets of a message before its body. */
const HEADER = 16

/** What the first attributes of a message name, by kind. */
const NAMES: Partial<Record<NftChange['object']['kind'], Readonly<Record<number, string>>>> = {
  chain: { 1: 'table', 3: 'name', 4: 'hook', 7: 'type' },
  set: { 1: 'table', 2: 'name' },
  object: { 1: 'table', 2: 'name', 3: 'type' },
  flowtable: { 1: 'table', 2: 'name', 3: 'hook' },
  elements: { 1: 'table', 2: 'set' },
  rule: { 1: 'table', 2: 'chain', 3: 'handle', 6: 'position' },
}

/** `named` is the word for an attribute of the change itself. */
type RefusedPart = Pick<NftRefusal, 'element' | 'step'> & { named?: string }

/**
 * The part of `change` whose attribute begins at octet `offset` of request `index`, one of those that the change was sent
 * as; empty where it is none that has a name.
 */
export function refusedPart(
  change: NftChange,
  { requests, index, offset }: { requests: readonly Request[]; index: number; offset: number },
): RefusedPart {
  const { object, verb } = change
  const body = bodyOf(requests[index]!)
  const top = placeOf(body, NFGENMSG, offset - HEADER)
  if (top === undefined) return {}
  const within = placeOf(body, top.from, offset - HEADER, top.to)
  if (object.kind === 'elements' && top.type === ELEMENTS && within !== undefined) {
    const before = requests.slice(0, index).reduce((sum, request) => sum + wiresOf(bodyOf(request)), 0)
    return { element: elementOfWire(object, { bare: verb === 'delete' }, before + within.place) }
  }
  if (object.kind === 'rule' && top.type === RULE_EXPRESSIONS && within !== undefined) return { step: within.place }
  return { named: NAMES[object.kind]?.[top.type] }
}

function bodyOf({ body }: Request): Buffer {
  const w = new NlWriter()
  body(w)
  return w.done()
}

type Place = { type: number; place: number; from: number; to: number }

/** The attribute from octet `at` on that has octet `target` in it; undefined for none. */
function placeOf(body: Buffer, at: number, target: number, end = body.length): Place | undefined {
  for (let place = 0, next = at; next + 4 <= end; place++) {
    const length = body.readUInt16LE(next)
    if (target >= next && target < next + length)
      return { type: body.readUInt16LE(next + 2) & ~NLA_F.nested, place, from: next + 4, to: next + length }
    next += Math.max(4, (length + 3) & ~3)
  }
  return undefined
}

/** How many elements a message has. */
function wiresOf(body: Buffer): number {
  let wires = 0
  for (let next = NFGENMSG; next + 4 <= body.length; next += (body.readUInt16LE(next) + 3) & ~3)
    if ((body.readUInt16LE(next + 2) & ~NLA_F.nested) === ELEMENTS)
      for (let at = next + 4; at < next + body.readUInt16LE(next); at += (body.readUInt16LE(at) + 3) & ~3) wires++
  return wires
}
