// Whether an address answers ICMP echo, for the few that something is wrong with.
import { randomBytes } from 'node:crypto'
import type { EchoSocket, EchoSocketOptions } from '../../kernel/echo-socket.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Clock } from '../../lib/clock.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import type { Ping } from './node-sessions.ts'

const TRIES = 3
const TRY_MS = 300
/** What every answer carries, so that those to others are not read. */
const OCTETS = 16

/** As `openEchoSocket`. */
export type OpenEcho = (family: Family, options: EchoSocketOptions) => EchoSocket

/** Needs CAP_NET_RAW. */
export function pinger({ open, clock }: { open: OpenEcho; clock: Clock }): Ping {
  return async address => {
    const data = randomBytes(OCTETS)
    try {
      const socket = open(familyOf(address), { receives: 'reply', holding: { offset: 0, octets: data } })
      try {
        let isSent = false
        for (let i = 0; i < TRIES; i++) {
          isSent = socket.send(address, i, data) || isSent
          await new Promise<void>(resolve => clock.after(TRY_MS, resolve))
          let answers = false
          socket.drain(from => {
            answers ||= from === address
          })
          if (answers) return true
        }
        return isSent ? false : undefined
      } finally {
        socket.close()
      }
    } catch (error) {
      if (error instanceof KernelError) return undefined
      throw error
    }
  }
}
