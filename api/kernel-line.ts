// One line of `GET /kernel`: an object of a node's kernel, for who looks for a fault from afar. What it has is as the kernel says, and
// may be something else in a later version.
import * as z from 'zod'

export const KERNEL_PARTS = [
  'links',
  'addresses',
  'routes',
  'rules',
  'next-hops',
  'neighbours',
  'fdb',
  'nftables',
] as const

export type KernelPart = (typeof KERNEL_PARTS)[number]

/** `left`: so many more are not told. `fault`: why the kernel did not tell them. */
export const kernelLine = z.union([
  z.object({ of: z.string(), is: z.unknown() }),
  z.object({ of: z.string(), left: z.number() }),
  z.object({ of: z.string(), fault: z.string() }),
])

export type KernelLine = z.infer<typeof kernelLine>
