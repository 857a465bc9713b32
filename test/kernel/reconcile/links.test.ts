// The table of links: what counts as the doing of somebody else.
import test from 'ava'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import { ROUTE_TABLE } from '../../../kernel/port/routes.ts'
import { LinkView } from '../../../kernel/reconcile/link-view.ts'
import { LinkTable } from '../../../kernel/reconcile/links.ts'
import { Ownership } from '../../../kernel/reconcile/ownership.ts'

const NAME = 'cali1'
const WISH = { name: NAME, mtu: 1400, up: true } as const

test('a link that comes again under the name of one that was wanted before is made, and not told as repaired', async t => {
  const kernel = new FakeWorld().kernel()
  const view = new LinkView(kernel)
  const table = new LinkTable(kernel, view, new Ownership({ table: ROUTE_TABLE.main, protocol: 80 }))
  const make = async () => view.saw(await kernel.createLink({ kind: 'dummy', name: NAME }))
  const apply = async () => {
    const { written, healed } = await table.apply()
    return { written: written.length, healed: healed.length }
  }
  await make()
  table.want(NAME, WISH)
  t.deepEqual(await apply(), { written: 1, healed: 0 })
  const link = (await kernel.link(NAME))!
  await kernel.setLink(NAME, { up: false })
  view.saw({ ...link, up: false })
  t.deepEqual(await apply(), { written: 1, healed: 1 }, 'somebody took it down')

  table.want(NAME, undefined)
  await kernel.deleteLink(NAME)
  view.gone(link)
  t.deepEqual(await apply(), { written: 0, healed: 0 })
  await make()
  table.want(NAME, WISH)
  t.deepEqual(await apply(), { written: 1, healed: 0 })
})
