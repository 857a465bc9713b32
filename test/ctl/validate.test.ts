import test from 'ava'
import { runHere } from './run.ts'

const POOL = 'apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p1}\nspec: {cidr: 10.1.0.0/16}\n'

test('validate asks no server, names what is right, and exits 1 with every fault of a manifest that is wrong', async t => {
  t.deepEqual(await runHere(['validate', '-f', '-'], POOL), {
    ...{ code: 0, out: 'ippool.projectcalico.org/p1 valid\n', err: '' },
  })
  t.deepEqual(await runHere(['validate', '-q', '-f', '-'], POOL), { code: 0, out: '', err: '' })
  const wrong = `${POOL.replace('10.1.0.0/16', 'x')}---
${POOL.replace('cidr', 'Cidr')}`
  const { code, out, err } = await runHere(['validate', '-f', '-'], wrong)
  t.deepEqual([code, out], [1, ''])
  t.regex(err, /document 1: IPPool p1: spec\.cidr/)
  t.regex(
    (await runHere(['validate', '-f', '-'], POOL.replace('cidr: 10.1.0.0/16', 'cidr: 10.1.0.0/16, blocksize: 28'))).err,
    /is spec\.blockSize meant\?/,
  )
  t.is((await runHere(['validate'])).code, 2)
})
