// The program as a process, over margay-api as another one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openStore } from '../../datastore/kube.ts'
import { startProgram } from '../apiserver/program.ts'
import { aBlock, aNode } from '../datastore/objects.ts'
import { freePort, start, until } from './programs.ts'

test('the program frees the block of a deleted Node, answers its probes, and gives the lease back when it is stopped', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-controllers-'))
  const api = await startProgram(['--data-dir', dir, '--listen', '127.0.0.1:0'])
  const port = await freePort()
  const flags = ['--lease-namespace', 'default', '--node-grace', '0', '--owner-answer', '1']
  const program = start(['--kubeconfig', join(dir, 'kubeconfig'), '--listen', `127.0.0.1:${port}`, ...flags])
  const store = openStore({ server: api.url, token: api.token })
  t.teardown(async () => {
    program.child.kill('SIGKILL')
    await store.close()
    await api.stop('SIGKILL')
    rmSync(dir, { recursive: true })
  })
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`)
    return { status: response.status, text: await response.text() }
  }
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  for (const [i, node] of ['n1', 'n2'].entries())
    await store.create('IPAMBlock', aBlock(`10.0.0.${2 * i}/31`, { affinity: `host:${node}` }))
  await until(
    () => ask('/metrics'),
    answer => answer?.text.includes('margay_controllers_leader 1') === true,
  )
  t.is((await ask('/livez')).status, 200)
  const ready = await until(
    () => ask('/readyz'),
    answer => answer?.status === 200,
  )
  t.is(ready.text, '[]\n')
  const verbose = await ask('/readyz?verbose')
  t.regex(verbose.text, /^\[\+\]LeaseKnown ok\n(\[\+\]\w+ ok\n)+readyz check passed\n$/)
  t.is((await ask('/other')).status, 404)
  await store.delete('Node', 'n1')
  const left = await until(
    () => store.list('IPAMBlock'),
    blocks => blocks?.length === 1,
  )
  t.is(left[0]!.spec.affinity, 'host:n2')
  const { text } = await ask('/metrics')
  t.regex(text, /^margay_ipam_blocks_gc_reclamations_total 1$/m)
  t.regex(text, /^ipam_blocks\{ippool="no_ippool",node="n2"\} 1$/m)
  t.regex(text, /^ipam_blocks_per_node\{node="n2"\} 1$/m)
  program.child.kill('SIGTERM')
  t.deepEqual((await program.ended)[0], 0)
  const { spec } = await store.get('Lease', 'margay-controllers', 'default')
  t.is(spec.holderIdentity, '')
  t.regex(program.log(), /"msg":"a block of a node that is gone was freed"/)
})

test('wrong usage ends with 2, and a kubeconfig or an address that cannot be used with 3', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-controllers-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const kubeconfig = join(dir, 'kubeconfig')
  writeFileSync(kubeconfig, 'clusters: []\n')
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['--node-grace', 'soon'], 2, /soon is not a number of seconds/],
    [['--lease-duration', '2'], 2, /2: a lease counts 3 seconds at least/],
    [['--listen', 'here'], 2, /here is neither address:port/],
    [['--kubeconfig', kubeconfig], 3, /the kubeconfig cannot be used/],
  ]
  await Promise.all(
    cases.map(async ([args, code, says]) => {
      const run = start(args)
      t.is((await run.ended)[0], code)
      t.regex(run.log(), says)
    }),
  )
})
