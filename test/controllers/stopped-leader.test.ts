// Two real programs over a real margay-api, the leader stopped (SIGSTOP) between a decision and its write, and let go on
// (SIGCONT) while another one leads. Its late writes are refused, or never sent.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openStore } from '../../datastore/kube.ts'
import { startProgram } from '../apiserver/program.ts'
import { aBlock, aNode, aResource } from '../datastore/objects.ts'
import { freePort, type Run, type Seen, start, until, Wiretap } from './programs.ts'

type Program = Run & { line: Wiretap; metrics(): Promise<string> }

const LEASE = 'margay-controllers'
const leads = (text: string | undefined) => text !== undefined && /^margay_controllers_leader 1$/m.test(text)

test('a leader that is stopped in the middle of its work and goes on while another one leads writes nothing, and frees nothing that lives', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-controllers-'))
  const api = await startProgram(['--data-dir', dir, '--listen', '127.0.0.1:0'])
  const store = openStore({ server: api.url, token: api.token })
  const programs: Program[] = []
  t.teardown(async () => {
    for (const { child, line } of programs) {
      child.kill('SIGKILL')
      line.close()
    }
    await store.close()
    await api.stop('SIGKILL')
    rmSync(dir, { recursive: true })
  })
  const launch = async (): Promise<Program> => {
    const line = new Wiretap(new URL(api.url).port)
    const port = await freePort()
    const times = ['--lease-duration', '3', '--node-grace', '0', '--owner-answer', '1']
    const where = ['--lease-namespace', 'default', '--listen', `127.0.0.1:${port}`]
    const run = start(['--kubeconfig', await line.kubeconfig(dir, api.token), ...where, ...times])
    const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    const program = { ...run, line, metrics }
    programs.push(program)
    return program
  }
  const endpoints = async () => (await store.list('HostEndpoint')).map(({ metadata }) => metadata.name).toSorted()

  // n1 and n2 have blocks and no Node; n3 and n5 have one
  const spec = { controllers: { node: { hostEndpoint: { autoCreate: 'Enabled' } } } }
  const configuration = aResource('KubeControllersConfiguration', { metadata: { name: 'default' }, spec })
  await store.create('KubeControllersConfiguration', configuration)
  const ready = aResource('ClusterInformation', { metadata: { name: 'default' }, spec: { datastoreReady: true } })
  await store.create('ClusterInformation', ready)
  for (const name of ['n3', 'n5']) await store.create('Node', aNode(name))
  const pod = { allocations: [0, null], unallocated: [1], attributes: [{ handle_id: 'h', secondary: { node: 'n1' } }] }
  await store.create('IPAMBlock', aBlock('10.0.0.0/31', { affinity: 'host:n1', ...pod }))
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: 'host:n2' }))
  await store.create('IPAMBlock', aBlock('10.0.0.4/31', { affinity: 'host:n3' }))
  // who waits for the lease knows the Nodes when it leads
  const before = { holderIdentity: 'before', leaseDurationSeconds: 1 }
  const lease = aResource('Lease', { metadata: { name: LEASE, namespace: 'default' }, spec: before })
  await store.create('Lease', lease)

  const first = await launch()
  await until(first.metrics, leads)
  const second = await launch()
  // a delete that is on its way to the server, and one that is decided by an answer on its way back
  const block = first.line.hold('request', /^DELETE .*\/ipamblocks\/10-0-0-0-31$/)
  const node = first.line.hold('answer', /^GET .*\/nodes\/n5$/)
  await block.caught
  await store.delete('Node', 'n5')
  await node.caught
  first.child.kill('SIGSTOP')
  // both nodes live: they are registered again, and the agent of n1 answers
  for (const name of ['n1', 'n5']) await store.create('Node', aNode(name))
  const asked = await store.get('IPAMBlock', '10-0-0-0-31')
  t.truthy(asked.metadata.annotations?.['margay/owner-asked'])
  await store.update('IPAMBlock', { ...asked, metadata: { ...asked.metadata, annotations: {} } })

  await until(second.metrics, leads)
  await until(endpoints, names => names?.join() === 'n1-auto-hep,n3-auto-hep,n5-auto-hep')
  const late = first.line.seen.length
  block.release()
  node.release()
  first.child.kill('SIGCONT')
  // it goes on where it was: the answer to the delete, then the block of n2, which it had asked about
  const isAtNext = () => first.line.seen.slice(late).some(({ what }) => /^GET .*\/nodes\/n2$/.test(what))
  await until(async () => isAtNext(), Boolean)
  await until(first.metrics, text => text !== undefined && !leads(text))
  await store.create('Node', aNode('n4'))
  await until(endpoints, names => names?.includes('n4-auto-hep') === true)
  const refused = (seen: readonly Seen[]) => seen.every(({ status }) => status === 409)
  t.true(refused(first.line.writes(late)), JSON.stringify(first.line.writes(late)))
  const deletes = first.line.writes().filter(({ what }) => what.startsWith('DELETE '))
  t.is(deletes.length, 1, 'the one that was on its way')
  t.true(refused(deletes))
  t.true((await endpoints()).includes('n5-auto-hep'))
  const blocks = (await store.list('IPAMBlock')).map(({ spec: { cidr } }) => cidr)
  t.deepEqual(blocks.toSorted(), ['10.0.0.0/31', '10.0.0.2/31', '10.0.0.4/31'])

  // and it takes over when the other one is killed
  second.child.kill('SIGKILL')
  await store.delete('Node', 'n4')
  await until(endpoints, names => names?.join() === 'n1-auto-hep,n3-auto-hep,n5-auto-hep')
  t.true(leads(await first.metrics()))
  t.true((await store.list('IPAMBlock')).some(({ spec: { cidr } }) => cidr === '10.0.0.0/31'))
})
