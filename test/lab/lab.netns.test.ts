// The whole lab on this machine's kernel. Where that has no ipip, the nodes fall back to VXLAN between the LANs.
import test from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { KernelError } from '../../kernel/port/error.ts'
import { Lab } from '../../lab/lab.ts'
import { claim } from './claims.ts'
import { type Observations, observe } from './scenario.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const root = process.geteuid?.() === 0
let seen: Observations | undefined

/** Asked of a namespace that is thrown away, so that nothing is left on this machine. */
const tunnel = root ? await tunnelKind() : 'vxlan'

async function tunnelKind(): Promise<'ipip' | 'vxlan'> {
  const { addNetns, netnsPath, removeNetns } = await import('../../kernel/netns.ts')
  const name = `margay-probe-${process.pid}`
  addNetns(name)
  try {
    using host = openKernel()
    using kernel = host.inside(netnsPath(name))
    await kernel.createLink({ kind: 'ipip', name: 'probe0', local: '192.0.2.1' })
    return 'ipip'
  } catch (error) {
    if (error instanceof KernelError) return 'vxlan'
    throw error
  } finally {
    removeNetns(name)
  }
}

/** It is healed when an event tells of it: nothing looks by itself as often. A busy machine stops for a second. */
const HEAL_MS = 5000

/** A machine that stands still for less than five seconds loses none. */
const MESH_BFD = '1s x 5'

test.before(async t => {
  if (!root) return
  t.timeout(150_000)
  await sweepTestLabs()
  await using lab = new Lab(testLabOptions({ patience: 3 }))
  await lab.start()
  await lab.routesKnown()
  seen = await observe(lab, { patience: 3, onLan: ['macvlan', 'ipvlan'], bfd: MESH_BFD, say: () => {} })
})

claim(test, () => 'needs root, for network namespaces', { observed: () => seen, tunnel, healMs: () => HEAL_MS })
