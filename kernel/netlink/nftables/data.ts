// Values and verdicts: NFTA_DATA_VALUE holds octets of a register, NFTA_DATA_VERDICT a code and, for jump and goto, the
// name of a chain.
import type { NftData, NftVerdict } from '../../port/nftables.ts'
import { type Codec, i32, Malformed, may, need, octets, record, text, word } from './fields.ts'
import { VERDICT } from './numbers.ts'

type WireVerdict = { code: keyof typeof VERDICT; chain?: string }
type WireData = { value?: string; verdict?: NftVerdict }

const wireVerdict = record<WireVerdict>({ code: need(1, word(VERDICT, i32)), chain: may(2, text) })

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

const wireData = record<WireData>({ value: may(1, octets), verdict: may(2, verdict) })

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

/** The octets of a value; a verdict is none. */
export const valueOctets: Codec<string> = {
  nested: true,
  emit: (w, value) => data.emit(w, { value }),
  parse(bytes) {
    const parsed = data.parse(bytes)!
    if (!('value' in parsed)) throw new Malformed('a verdict where a value belongs')
    return parsed.value
  },
}

/** A verdict as nft prints it. */
export function verdictText(of: NftVerdict): string {
  return 'chain' in of ? `${of.verdict} ${of.chain}` : of.verdict
}
