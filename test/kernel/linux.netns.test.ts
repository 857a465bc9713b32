import test from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { LinkSpec } from '../../kernel/port/links.ts'
import { kernelContract, type World } from './contract.ts'
import { nftablesContract } from './nftables-contract.ts'
import { routeTableSuite } from './route-table-suite.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'
import { shapingContract } from './shaping-contract.ts'

if (isRoot) {
  const missingKind = await lacks({ kind: 'dummy', name: 'probe' })
  const open = (): World => {
    const [mine, pod] = [scratchNetns(), scratchNetns()]
    using host = openKernel()
    const node = host.inside(mine.path)
    const otherProgram = host.inside(mine.path)
    const close = () => {
      node.close()
      otherProgram.close()
      mine[Symbol.dispose]()
      pod[Symbol.dispose]()
    }
    return { node, otherProgram, podPath: pod.path, missingKind, close }
  }
  kernelContract(test, open)
  nftablesContract(test, open)
  routeTableSuite(test, open)
  shapingContract(test, open)
} else {
  test('the real kernel is held to the contract by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })
}

/** The kind of `spec` when this kernel does not have it. */
async function lacks(spec: LinkSpec): Promise<LinkSpec['kind'] | undefined> {
  using netns = scratchNetns()
  using host = openKernel()
  using scratch = host.inside(netns.path)
  try {
    await scratch.createLink(spec)
    return undefined
  } catch (error) {
    if (error instanceof KernelError && error.errno === ERRNO.EOPNOTSUPP) return spec.kind
    throw error
  }
}
