// Route reflectors with many clients, as `npm run bench:reflectors` measures them with thousands.
import test from 'ava'
import { reflected } from '../../bench/bgp/reflected.ts'

for (const reflectors of [2, 4])
  test(`every client hears of every block by each of ${reflectors} reflectors, and the loss of one takes no route away`, async t => {
    const { lost, withdrawn, leftMs } = await reflected({ clients: 200, reflectors })
    t.is(lost, 0)
    t.is(withdrawn, 0)
    t.true(leftMs > 0)
  })
