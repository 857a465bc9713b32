// The chains of iptables-legacy and ip6tables-legacy, which nftables does not show: read with getsockopt on any
// socket of the family (linux/netfilter_ipv4/ip_tables.h), so CAP_NET_ADMIN is enough where iptables itself wants
// CAP_NET_RAW too. No program is started: it may not be there, and takes a lock that others wait for. Hazard: to ask for a table that is not there makes it. So only tables that the kernel lists are asked for.
import { readFileSync } from 'node:fs'
import type { Family } from '../../lib/ip.ts'
import { closeDescriptor, getSocketOption, openSocket, SOCKET_FAMILY, SOCKET_TYPE } from '../libc.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { ForwardChain, NftChain } from '../port/nftables.ts'
import type { LegacyDrop } from '../port/trace.ts'
import { parseLegacyDrops } from './legacy-drops.ts'
import { parseLegacyHooks } from './legacy-hooks.ts'
import { hasForwardChain, type LegacyTable, parseLegacyTable } from './legacy-table.ts'

/** `names` is the file that lists the tables; `level` is SOL_IP or SOL_IPV6. */
const SOURCES: Readonly<Record<Family, { names: string; level: number }>> = {
  ipv4: { names: 'ip_tables_names', level: 0 },
  ipv6: { names: 'ip6_tables_names', level: 41 },
}
/** IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES, and the same for IPv6. */
const GET = { info: 64, entries: 65 } as const
const NAME_LENGTH = 32
const INFO_LENGTH = 84
const ENTRIES_HEAD = 40
const ATTEMPTS = 3

/** The forward chains of all legacy tables that this thread's namespace has. Throws KernelError where they may not be read. */
export function readLegacyChains(): ForwardChain[] {
  // thousands of rules of kube-proxy are in the table nat, which has none
  return tables(hasForwardChain).flatMap(table => parseLegacyTable(table) ?? [])
}

/** What drops in the legacy tables of this thread's namespace, but for nat, where nothing does. Throws KernelError where they may not be read. */
export function readLegacyDrops(): LegacyDrop[] {
  return tables((_, table) => table !== 'nat').flatMap(parseLegacyDrops)
}

/** Those that do something. Throws KernelError where the tables may not be read. */
export function readLegacyHooks(): NftChain[] {
  return tables(() => true).flatMap(parseLegacyHooks)
}

function tables(isWanted: (info: Buffer, table: string) => boolean): LegacyTable[] {
  return (['ipv4', 'ipv6'] as const).flatMap(family =>
    listedTables(SOURCES[family].names).flatMap(table => readTable(family, table, isWanted) ?? []),
  )
}

/** Of a kernel without legacy tables there is no such file. */
function listedTables(file: string): string[] {
  try {
    return readFileSync(`/proc/thread-self/net/${file}`, 'utf8').split('\n').filter(Boolean)
  } catch {
    return [] // nor where it may not be read
  }
}

function readTable(
  family: Family,
  table: string,
  isWanted: (info: Buffer, table: string) => boolean,
): LegacyTable | undefined {
  const { level } = SOURCES[family]
  const what = `${table} of ${family} (legacy)`
  const socket = openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.datagram, 0, what)
  try {
    for (let attempt = 1; ; attempt++)
      try {
        const info = named(table, INFO_LENGTH)
        getSocketOption(socket, level, GET.info, info, what)
        if (!isWanted(info, table)) return undefined
        const size = info.readUInt32LE(80)
        const answer = named(table, ENTRIES_HEAD + size)
        answer.writeUInt32LE(size, NAME_LENGTH)
        getSocketOption(socket, level, GET.entries, answer, what)
        return { family, table, info, entries: answer.subarray(ENTRIES_HEAD) }
      } catch (error) {
        // it grew or shrank meanwhile
        const changed = error instanceof KernelError && error.errno === ERRNO.EAGAIN
        if (!changed || attempt === ATTEMPTS) throw error
      }
  } finally {
    closeDescriptor(socket)
  }
}

function named(table: string, length: number): Buffer {
  const buffer = Buffer.alloc(length)
  buffer.write(table, 'latin1')
  return buffer
}
