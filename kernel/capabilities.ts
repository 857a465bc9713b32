// Which tunnel kinds this kernel has, found out by making one of each: a module that can be loaded is loaded by the
// attempt, and no list of kernel options or versions says as much.
import { ERRNO, KernelError } from './port/error.ts'
import type { Capabilities, LinkPort, LinkSpec } from './port/links.ts'

/** Addresses for documentation (RFC 5737): a probe must never be taken for a working tunnel. */
const PROBES: Record<keyof Capabilities, LinkSpec> = {
  ipip: { kind: 'ipip', name: 'margay-probe-4', local: '192.0.2.1', remote: '192.0.2.2' },
  vxlan: { kind: 'vxlan', name: 'margay-probe-8', vni: 0xfffffe, port: 4790, local: '192.0.2.1' },
}

/** Asks the kernel of one namespace; leaves no link behind. Rejects when it refuses for another reason than lack. */
export async function probeCapabilities(kernel: LinkPort): Promise<Capabilities> {
  return { ipip: await has(kernel, PROBES.ipip), vxlan: await has(kernel, PROBES.vxlan) }
}

async function has(kernel: LinkPort, spec: LinkSpec): Promise<boolean> {
  try {
    await kernel.createLink(spec)
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    if (error.errno === ERRNO.EOPNOTSUPP) return false
    // a probe that was killed half-way left its link
    if (error.errno !== ERRNO.EEXIST) throw error
  }
  await kernel.deleteLink(spec.name)
  return true
}
