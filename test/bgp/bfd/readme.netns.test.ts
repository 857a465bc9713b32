// The example of bgp/README.md about BFD, as it is written there.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { isRoot } from '../../kernel/scratch-netns.ts'
import { makeLink, OURS, THEIRS, until } from '../interop.ts'
import { cut, started } from './thread.ts'

const README = new URL('../../../bgp/README.md', import.meta.url)
/** The block of code with this import. */
const example = [...readFileSync(README, 'utf8').matchAll(/```ts\n(.*?)```/gs)]
  .map(([, code]) => code!)
  .find(code => code.includes("'margay/bgp/bfd'"))!

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('the example of BFD is run by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

netns('the example says that its session is up, and that the path failed when its neighbour falls silent', async t => {
  await using link = makeLink()
  const router = started(t, link.theirs)
  router.setSession('example', { local: THEIRS.ipv4, peer: OURS.ipv4 })
  const program = link.run('ours', {
    name: 'example',
    command: process.execPath,
    args: ['--conditions=margay-source', '--input-type=module-typescript', '--eval', example],
    env: { LOCAL: OURS.ipv4, ROUTER: THEIRS.ipv4 },
  })
  const shown = (text: string) =>
    until(
      text,
      () => program.output().includes(text),
      () => program.output(),
    )
  await shown('router is Up')
  // without its link no packet comes
  cut(link.theirs)
  await shown('router is Down')
  await shown('router has failed: detection-time-expired')
  t.pass()
})
