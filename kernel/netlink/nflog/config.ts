// What a reader of a group asks for, all in one message: the kernel makes the reader only where it can be made as asked.
// nfgenmsg: family u8 | version u8 | group u16.
import type { NflogOptions } from '../../port/nflog.ts'
import type { NlWriter } from '../message.ts'
import { emitNfHeader } from '../nfnetlink.ts'
import { NFULA_CFG, NFULNL_CFG_CMD, NFULNL_CFG_F, NFULNL_COPY } from './numbers.ts'

/** Octets of the largest copy that may be asked for: a jumbo frame. */
const MOST_COPIED = 9216
/** Octets of copies that the kernel gathers. It rounds up: no datagram is larger than twice this. */
const GATHERED = 1 << 14
/** As large as the datagrams get. */
export const MESSAGE_SIZE = 2 * GATHERED
/** NFULA_CFG_TIMEOUT counts in hundredths of a second. */
const MS_PER_TICK = 10

/** Throws a plain `Error` for options out of their range. */
export function emitConfig(
  w: NlWriter,
  { group, copyOctets, batch, batchMs }: Omit<NflogOptions, 'received' | 'lost' | 'queueOctets'>,
): void {
  within('group', group, 1, 0xffff)
  within('copyOctets', copyOctets, 1, MOST_COPIED)
  within('batch', batch, 1, 1000)
  within('batchMs', batchMs, MS_PER_TICK, 10_000)
  emitNfHeader(w, 0, group)
  w.attrU8(NFULA_CFG.cmd, NFULNL_CFG_CMD.bind)
  // copy range u32 | mode u8 | padding u8
  w.nest(NFULA_CFG.mode, value => value.u32be(copyOctets).u8(NFULNL_COPY.packet).u8(0))
  w.nest(NFULA_CFG.nlbufsiz, value => value.u32be(GATHERED))
  w.nest(NFULA_CFG.timeout, value => value.u32be(Math.floor(batchMs / MS_PER_TICK)))
  w.nest(NFULA_CFG.qthresh, value => value.u32be(batch))
  w.nest(NFULA_CFG.flags, value => value.u16be(NFULNL_CFG_F.seq))
}

function within(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new Error(`NFLOG: ${name} is ${value}, and not ${least} to ${most}`)
}
