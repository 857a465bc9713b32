// The connections that the kernel tracks between the ends of a question, and whether its table has room for another one.
import type { ConnectionFacts, Question } from '../../api/explain.ts'
import type { Flow, FlowTuple } from '../../kernel/port/conntrack.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Gathering } from './gathering.ts'

/** Connections that are told; two pods can have many thousand. */
const MOST = 32

class Enough extends Error {
  override readonly name = 'Enough'
}

/** Those that one of the ends opened to the other one, before or behind a translation. */
export async function connectionsOf(
  kernel: Pick<Kernel, 'flowsOf'>,
  { packet: { source, destination } }: Question,
  gathering: Gathering,
): Promise<ConnectionFacts[]> {
  const found = new Map<number, ConnectionFacts>()
  try {
    await kernel.flowsOf(new Set([source, destination]), flow => {
      if (gathering.isOver || found.size >= MOST) throw new Enough('nobody asks for more')
      if (isBetween(flow, source, destination)) found.set(flow.id, told(flow))
    })
  } catch (error) {
    if (!(error instanceof Enough)) throw error
  }
  return [...found.values()]
}

function isBetween({ original, reply }: Flow, one: string, other: string): boolean {
  const ends = [original.source, original.destination, reply.source, reply.destination]
  return ends.includes(one) && ends.includes(other)
}

function told({ original, reply, isAnswered }: Flow): ConnectionFacts {
  return { protocol: original.protocol, sent: tupleOf(original), answered: tupleOf(reply), hasAnswers: isAnswered }
}

function tupleOf({ source, destination, ports }: FlowTuple): ConnectionFacts['sent'] {
  return { source, destination, ...(ports && { sourcePort: ports.source, destinationPort: ports.destination }) }
}

/** Throws `KernelError` where nothing is tracked. */
export function connectionTable(kernel: Pick<Kernel, 'readSysctl'>): { count: number; most: number } {
  const read = (name: string) => Number(kernel.readSysctl('netfilter', [name]).trim())
  return { count: read('nf_conntrack_count'), most: read('nf_conntrack_max') }
}
