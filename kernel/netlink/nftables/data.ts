// Values and verdicts: NFTA_DATA_VALUE holds octets of a register, NFTA_DATA_VERDICT a code and, for jump and goto, the
// name of a chain.
import { fromHex, toHex } from '../../../lib/bytes.ts'
import type { NftData, NftVerdict } from '../../port/nftables.ts'
import { attributesOf, type Codec, i32, Malformed, octets, optional, record, required, text, word } from './fields.ts'
import { VERDICT } from './numbers.ts'

/** NFTA_DATA_VALUE. */
const VALUE = 1

type WireVerdict = { code: keyof typeof VERDICT; chain?: string }
type WireData = { value?: string; verdict?: NftVerdict }

const wireVerdict = record<WireVerdict>({ code: required(1, word(VERDICT, i32)), chain: optional(2, text) })

const verdict: Codec<NftVerdict> = {
  nested: true,
  emit: (w, value) => wireVerdict.emit(w, { code: value.verdict, chain: 'chain' in value ? value.chain : undefined }),
  parse(bytes) {
    const { code, chain } = wireVerdict.parse(bytes)!
    if (code !== 'jump' && code !== 'goto') return { verdict: code }
    if (chain === undefined) throw new Malformed(`${code} without a chain`)
    return { verdict: code, chain }
  },
}

const wireData = record<WireData>({ value: optional(VALUE, octets), verdict: optional(2, verdict) })

/** A value or a verdict. */
export const data: Codec<NftData> = {
  nested: true,
  emit: (w, value) => wireData.emit(w, 'value' in value ? value : { verdict: value }),
  parse(bytes) {
    const { value, verdict: found } = wireData.parse(bytes)!
    if (found !== undefined) return found
    if (value === undefined) throw new Malformed('neither a value nor a verdict')
    return { value }
  },
}

/** The octets of a value; a verdict is none. Elements come by the hundred thousand: these are not made into text. */
export const valueBytes: Codec<Uint8Array> = {
  nested: true,
  emit: (w, value) => w.attrBytes(VALUE, value),
  parse(bytes) {
    // only the value, as the kernel writes it
    if (bytes.length >= 4 && bytes.readUInt16LE(2) === VALUE && bytes.readUInt16LE(0) === bytes.length)
      return bytes.subarray(4)
    const found = attributesOf(bytes).find(({ type }) => type === VALUE)
    if (found === undefined) throw new Malformed('no value')
    return found.value
  },
}

/** The same as hex. */
export const valueOctets: Codec<string> = {
  nested: true,
  emit: (w, value) => valueBytes.emit(w, fromHex(value)),
  parse: bytes => toHex(valueBytes.parse(bytes)!),
}

/** A verdict as nft prints it. */
export function verdictText(of: NftVerdict): string {
  return 'chain' in of ? `${of.verdict} ${of.chain}` : of.verdict
}
