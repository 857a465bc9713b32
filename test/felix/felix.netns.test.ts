// Felix on the real kernel, in namespaces of its own. Where this kernel lacks ipip, the worlds say so.
import test from 'ava'
import { probeCapabilities } from '../../kernel/capabilities.ts'
import { isRoot, openNetns, sweep } from './netns.ts'
import { felixSuite } from './suite.ts'
import { FULL } from './worlds.ts'

if (!isRoot)
  test('felix on the real kernel', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  const netns = await openNetns()
  const capabilities = await probeCapabilities(netns.kernel)
  const left = (await netns.kernel.links()).filter(({ name }) => name.startsWith('margay-probe'))
  await netns.close()

  test('probing for tunnel kinds leaves no link behind', t => {
    t.log(capabilities)
    t.true(capabilities.vxlan)
    t.deepEqual(left, [])
  })

  felixSuite(test.serial, { open: openNetns, full: { ...FULL, capabilities } })
}
