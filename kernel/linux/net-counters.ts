// Counters of the network namespace of the calling thread (/proc/net/netstat): a line of names, and a line of numbers in the same order.
import { readFileSync } from 'node:fs'

/** As `TracePort.reversePathDrops` (LINUX_MIB_IPRPFILTER). */
export function reversePathDrops(): number {
  return numberIn(read(), 'TcpExt', 'IPReversePathFilter')
}

function read(): string {
  try {
    return readFileSync('/proc/thread-self/net/netstat', 'utf8')
  } catch {
    return '' // a kernel that does not count
  }
}

function numberIn(text: string, group: string, name: string): number {
  const [names, numbers] = text
    .split('\n')
    .filter(line => line.startsWith(`${group}:`))
    .map(line => line.split(' '))
  const at = names?.indexOf(name) ?? -1
  return at < 0 ? 0 : Number(numbers?.[at] ?? 0)
}
