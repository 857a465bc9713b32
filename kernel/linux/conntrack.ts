// Tracked connections over netlink.
// A few addresses are asked for one by one, which the kernel answers without telling of all others: a walk of a table of 100,000
// takes the kernel 25 ms for each, and 130 ms with 280 ms of ours where all is told. Where little is tracked, one walk that tells
// all costs half as much: two directions of an address are two walks.
import { type Family, familyOf } from '../../lib/ip.ts'
import { deleteFlow, dumpFlows, dumpFlowsFrom, type FlowDirection, flowReader } from '../netlink/conntrack/flows.ts'
import type { Request, Requests } from '../netlink/requests.ts'
import type { Flow } from '../port/conntrack.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { DumpWalk, DumpWalks } from './dump-walk.ts'

/** Up to so many addresses are asked for one by one. */
const FEW = 2
/** and where more than so many connections are tracked. */
const LITTLE = 1_000
const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
const DIRECTIONS: readonly FlowDirection[] = ['original', 'reply']

/** As `ConntrackPort.flowsOf`. `tracked`: how many connections there are. */
export async function walkFlows(
  addresses: ReadonlySet<string> | 'all',
  each: (flow: Flow) => void,
  { walks, tracked }: { walks: DumpWalks; tracked: number },
): Promise<void> {
  const read = flowReader(addresses)
  const take: DumpWalk['take'] = message => {
    const flow = read(message)
    if (flow !== undefined) each(flow)
  }
  for (const request of requestsFor(addresses, tracked))
    await walks.walk(request, { lists: 'tracked connections', take })
}

/** As `ConntrackPort.deleteFlows`. */
export async function deleteFlows(requests: Requests, flows: readonly Flow[]): Promise<(KernelError | undefined)[]> {
  const answers = await requests.change(flows.map(deleteFlow))
  return answers.map(({ errno, detail }, i) =>
    errno === 0 || errno === ERRNO.ENOENT
      ? undefined
      : new KernelError(errno, 'delete connection', flowText(flows[i]!), detail),
  )
}

function requestsFor(addresses: ReadonlySet<string> | 'all', tracked: number): Request[] {
  if (addresses === 'all') return FAMILIES.map(dumpFlows)
  if (addresses.size <= FEW && tracked > LITTLE)
    return [...addresses].flatMap(address =>
      DIRECTIONS.map(direction => dumpFlowsFrom(familyOf(address), direction, address)),
    )
  const families = new Set<Family>([...addresses].map(familyOf))
  return [...families].map(dumpFlows)
}

function flowText({ original: { source, destination, protocol, ports } }: Flow): string {
  const [from, to] = ports === undefined ? ['', ''] : [` port ${ports.source}`, ` port ${ports.destination}`]
  return `protocol ${protocol} from ${source}${from} to ${destination}${to}`
}
