// The kernel of a namespace that was entered with a limit: lists that are longer are refused, as the real one does.
import { ERRNO, KernelError } from '../port/error.ts'
import type { Kernel } from '../port/kernel.ts'

const LISTS = ['links', 'addresses', 'routes', 'neighbours', 'fdb'] as const satisfies (keyof Kernel)[]

export function limited(kernel: Kernel, mostObjects: number): Kernel {
  for (const name of LISTS) {
    const list: (...args: never[]) => Promise<unknown[]> = kernel[name].bind(kernel)
    const value = async (...args: never[]) => {
      const objects = await list(...args)
      if (objects.length <= mostObjects) return objects
      throw new KernelError(ERRNO.E2BIG, 'list', 'objects', `there are more than ${mostObjects}`)
    }
    // what wraps a kernel (agent/write-guard.ts) may put its own in the place
    Object.defineProperty(kernel, name, { value, configurable: true, writable: true })
  }
  return kernel
}
