import test from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { KernelEvent } from '../../kernel/port/kernel.ts'
import type { LinkSpec } from '../../kernel/port/links.ts'
import { eventually } from '../felix/node-kernel.ts'
import { kernelContract, type World } from './contract.ts'
import { multipathSuite } from './multipath-suite.ts'
import { nextHopGroupsSuite } from './next-hop-groups-suite.ts'
import { nextHopsContract } from './next-hops-contract.ts'
import { nftablesContract } from './nftables-contract.ts'
import { resilientGroupsSuite } from './resilient-groups-suite.ts'
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
    using quiet = openKernel({ ownRoutes: 'untold' })
    const untold = quiet.inside(mine.path)
    const close = () => {
      for (const kernel of [node, otherProgram, untold]) kernel.close()
      mine[Symbol.dispose]()
      pod[Symbol.dispose]()
    }
    return { node, otherProgram, untold, podPath: pod.path, missingKind, close }
  }
  // each in its turn: a turn of the loop in which all of them wait for the kernel's one lock takes seconds on a busy machine
  kernelContract(test.serial, open)
  nextHopsContract(test.serial, open)
  nftablesContract(test.serial, open)
  routeTableSuite(test.serial, open)
  multipathSuite(test.serial, open)
  nextHopGroupsSuite(test.serial, open)
  resilientGroupsSuite(test.serial, open)
  shapingContract(test.serial, open)

  test.serial(
    'the settings of an interface that comes are told as new, in each family, and those that are written later are not',
    async t => {
      using mine = scratchNetns()
      using host = openKernel()
      using node = host.inside(mine.path)
      using other = host.inside(mine.path)
      node.writeSysctl('ipv4', ['conf', 'default', 'proxy_arp'], '0')
      const events: Extract<KernelEvent, { type: 'sysctl' }>[] = []
      const monitor = node.monitor(event => {
        if (event.type === 'sysctl' && typeof event.of === 'number') events.push(event)
      })
      const { index: of } = await other.createLink({ kind: 'veth', name: 'a', peer: { name: 'b' } })
      other.writeSysctl('ipv4', ['conf', 'a', 'proxy_arp'], '1')
      await eventually('the write is told', () =>
        events.some(({ value, name }) => name === 'proxy_arp' && value === '1'),
      )
      const [type, isNew] = ['sysctl', true] as const
      const told = events.filter(event => event.of === of && ['proxy_arp', 'proxy_ndp'].includes(event.name))
      t.deepEqual(told, [
        { type, family: 'ipv4', of, name: 'proxy_arp', value: '0', isNew },
        { type, family: 'ipv6', of, name: 'proxy_ndp', value: '0', isNew },
        { type, family: 'ipv4', of, name: 'proxy_arp', value: '1' },
      ])
      monitor.close()
    },
  )
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
