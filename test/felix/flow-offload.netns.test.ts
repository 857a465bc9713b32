// Connections that are carried past the hooks, in a kernel that has flowtables: few packets of a long one meet the hook forward.
import { once } from 'node:events'
import test, { type ExecutionContext } from 'ava'
import { FlowOffload } from '../../felix/flow-offload.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { namedCounters, nft } from '../kernel/nftables-programs.ts'
import { isRoot, scratchNetns } from '../kernel/scratch-netns.ts'
import { PodNode } from './pod-node.ts'

const MARKS = { table: 'margay-offload', podPrefix: 'cali', tunnels: [] }
const PROBE = `table ip probe {
  counter seen { }
  chain f { type filter hook forward priority 0; tcp dport 81 counter name seen; }
}`

/** What keeps this kernel from offloading anything. */
async function whyNot(): Promise<string | undefined> {
  if (!isRoot) return 'needs root'
  using space = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(space.path)
  const offload = new FlowOffload(kernel, MARKS)
  offload.configure({ devicePattern: '' })
  await offload.put()
  return offload.conditions[0]?.message
}

async function run(t: ExecutionContext): Promise<void> {
  await using node = new PodNode()
  await node.start()
  const [web, friend] = [await node.add('web'), await node.add('friend')]
  const echo = `require('net').createServer(s => s.pipe(s)).listen(81, '0.0.0.0', () => console.log('on'))`
  const server = node.run(web, process.execPath, ['-e', echo])
  t.teardown(() => server.kill('SIGKILL'))
  await once(server.stdout!, 'data')
  nft(node.space.path, ['-f', '-'], PROBE)
  const offload = new FlowOffload(node.kernel, MARKS)
  /** How many packets to the server met the hook while `count` words went there and back. */
  const seen = async (count: number) => {
    const packets = async () => (await namedCounters(node.kernel, { family: 'ip', name: 'probe' })).get('seen')!
    const before = await packets()
    const client = `let left = ${count}; const s = require('net').connect({ host: '${web.address}', port: 81, noDelay: true })
      s.on('connect', () => s.write('x')).on('data', () => --left > 0 ? s.write('x') : process.exit())`
    await once(node.run(friend, process.execPath, ['-e', client]), 'exit')
    return (await packets()) - before
  }
  offload.configure({ devicePattern: '' })
  await offload.put()
  t.deepEqual(offload.conditions, [])
  const offloaded = await seen(200)
  t.true(offloaded < 100, `${offloaded} packets of a connection met the hook`)
  offload.setLocal('web', { interfaceName: web.interfaceName, profiles: [], qos: { ingress: { connections: 9 } } })
  await offload.put()
  t.true((await seen(200)) >= 200, 'those of a pod that asks for limits do')
  await node.kernel.deleteLink((await node.kernel.link(friend.interfaceName))!.index)
  offload.invalidate()
  await offload.put()
  const { flowtables } = (await node.kernel.nftables({ family: 'inet', name: MARKS.table }))!
  t.deepEqual([flowtables[0]?.devices, offload.conditions], [[web.interfaceName], []])
}

const reason = await whyNot()
if (reason === undefined)
  test('a connection that lasts passes the hooks by, and one of a pod with limits does not', run)
else
  test('a connection that lasts passes the hooks by: not here', t => {
    t.log(`skipped: ${reason}`)
    t.pass()
  })
