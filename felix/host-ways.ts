// By which interfaces packets of a connection come and leave, which the kernel does not keep with it: those that lead to its ends
// now. Where that is not known it may be any, and whoever asks must take the worst.
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { isLinkLocal, isLoopback } from '../lib/ip.ts'
import type { Way } from './policy/host-verdict.ts'

type Ends = { source: string; destination: string }
/** Undefined: the host itself. */
type Interfaces = readonly (string | undefined)[]

/** Questions to the kernel at a time. */
const AT_ONCE = 64

/** All ways that a connection may have. `own`: the addresses of this host; `any`: the interfaces that something is asked of. */
export function possibleWays({ source, destination }: Ends, own: ReadonlySet<string>, any: readonly string[]): Way[] {
  const isOwn = (address: string) => own.has(address) || isLoopback(address)
  if (isOwn(source)) return isOwn(destination) ? [] : ways(HERE, any)
  // to a group or to all of a network it is for the host, too
  return ways(any, isOwn(destination) ? HERE : [...any, undefined])
}

/** The ways of some connections by the routes of now, each asked for once. Rejects with `KernelError` when links cannot be read. */
export async function waysOf(
  flows: readonly Ends[],
  kernel: Pick<Kernel, 'links' | 'lookupRoute'>,
  own: ReadonlySet<string>,
  any: readonly string[],
): Promise<Way[][]> {
  const names = new Map((await kernel.links()).map(({ index, name }) => [index, name]))
  const asked = [...new Set(flows.flatMap(({ source, destination }) => [source, destination]))]
  const found = new Map<string, { toHere: boolean; interfaceName: string | undefined } | undefined>()
  const look = async (address: string) => {
    if (own.has(address) || isLoopback(address)) return { toHere: true, interfaceName: undefined }
    if (isLinkLocal(address)) return undefined
    try {
      const { type, ifindex } = await kernel.lookupRoute(address)
      const interfaceName = ifindex === undefined ? undefined : names.get(ifindex)
      return interfaceName === undefined ? undefined : { toHere: type !== 'unicast', interfaceName }
    } catch (error) {
      if (error instanceof KernelError && error.errno !== ERRNO.ENOBUFS) return undefined
      throw error
    }
  }
  for (let from = 0; from < asked.length; from += AT_ONCE) {
    const some = asked.slice(from, from + AT_ONCE)
    const answers = await Promise.all(some.map(look))
    for (const [i, address] of some.entries()) found.set(address, answers[i])
  }
  return flows.map(({ source, destination }) => {
    const [from, to] = [found.get(source), found.get(destination)]
    const isFromHere = from?.toHere === true
    if (isFromHere) return ways(HERE, to === undefined ? any : [to.interfaceName])
    const target = to === undefined ? [...any, undefined] : to.toHere ? HERE : [to.interfaceName]
    return ways(from === undefined ? any : [from.interfaceName], target)
  })
}

const HERE: Interfaces = [undefined]

function ways(from: Interfaces, to: Interfaces): Way[] {
  return from.flatMap(each => to.map(other => ({ from: each, to: other })))
}
