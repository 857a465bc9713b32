// Felix as a whole on the fake kernel: whatever it was told on the way, the kernel ends as that of a felix that was told
// only the end.
import test from 'ava'
import fc from 'fast-check'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { type Call, call, endOf, make } from './calls.ts'
import { addLink, kernelState, setUpNode } from './node-kernel.ts'
import { EMPTY } from './worlds.ts'

// what it is told of the host's subnets and router advertisements counts until its first look at the kernel, so that it is a matter of when
const isOfKernel = ({ kind, ...rest }: Call) =>
  kind === 'settings' && 'part' in rest && ('connected' in rest.part || 'heedsRouters' in rest.part)
const told = call.filter(each => !isOfKernel(each))
const walk = fc.array(fc.record({ call: told, wait: fc.boolean() }), { maxLength: 40 })

test('after any walk the kernel is that of a felix that was told only the end', async t => {
  await fc.assert(
    fc.asyncProperty(walk, fc.constantFrom(1, 1000), async (steps, slice) => {
      const walked = await stateAfter(steps, slice)
      const end = await stateAfter(
        endOf(steps.map(({ call }) => call)).map(call => ({ call, wait: false })),
        1000,
      )
      // where the kernel refuses what is wanted, it keeps what it had
      fc.pre(walked !== 'refused' && end !== 'refused')
      t.deepEqual(walked, end)
    }),
    { numRuns: 200 },
  )
})

/** The kernel after the calls. `wait`: the kernel is brought there before the next call. */
async function stateAfter(steps: readonly { call: Call; wait: boolean }[], slice: number): Promise<unknown> {
  const world = new FakeWorld()
  const kernel = world.kernel()
  await setUpNode(kernel)
  for (const name of ['eth1', 'calia', 'calib']) await addLink(kernel, name)
  const clock = new ManualClock()
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const felix = new Felix(world.kernel(), { clock, log: silentLog, marks, slice, onConditions: () => {} })
  felix.start()
  felix.configure({ node: EMPTY.node, config: EMPTY.config, capabilities: EMPTY.capabilities })
  for (const source of ['datastore', 'endpoints', 'bgp', 'policy'] as const) felix.complete(source)
  felix.completeFloating()
  for (const { call, wait } of steps) {
    make(felix, call)
    // a refusal is part of the walk
    if (wait) await felix.applied().catch(() => undefined)
  }
  const refused = await felix.applied().then(
    () => false,
    () => true,
  )
  await felix.close()
  if (refused) return 'refused'
  const { links, ...state } = await kernelState(kernel)
  // tunl0 is the kernel's own: it is never removed
  return { ...state, links: links.filter(line => !line.startsWith('tunl0')) }
}
