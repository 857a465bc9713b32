// How this node sends to an address, by its kernel's own word: that there is no way is said only where the kernel says so.
import { KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { interfacesOf, NOWHERE } from '../../kernel/port/routes.ts'
import type { Way } from './paths.ts'

/** `kindOf`: of the link with an index. Undefined: the kernel could not be asked. */
export async function wayTo(
  address: string,
  kernel: Pick<Kernel, 'lookupRoute'>,
  kindOf: (index: number) => Promise<string | undefined>,
): Promise<Way | undefined> {
  try {
    const [ifindex] = interfacesOf(await kernel.lookupRoute(address))
    const kind = ifindex === undefined ? undefined : await kindOf(ifindex)
    return kind === 'vxlan' || kind === 'ipip' ? kind : 'direct'
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    return NOWHERE.includes(error.errno) ? 'no route' : undefined
  }
}
