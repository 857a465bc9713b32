// What pods ask of their packets, with packets in a real kernel.
import { once } from 'node:events'
import test from 'ava'
import type { Qos } from '../../felix/policy/model.ts'
import { QosTable } from '../../felix/qos-table.ts'
import { namedCounters, nft } from '../kernel/nftables-programs.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { type Pod, PodNode } from './pod-node.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** Counts datagrams to the port 9000 that came, that went on, and that went on with the DSCP EF. */
const PROBE = `table ip probe {
  counter came { }
  counter passed { }
  counter marked { }
  chain early { type filter hook prerouting priority -300; udp dport 9000 counter name came; }
  chain late {
    type filter hook postrouting priority 0
    udp dport 9000 counter name passed
    ip dscp ef udp dport 9000 counter name marked
  }
}`

netns('pods send as many packets and hold as many connections as they ask, with the DSCP that they ask', async t => {
  await using node = new PodNode()
  await node.start()
  const [web, friend, outside] = [await node.add('web'), await node.add('friend'), await node.add('outside')]
  const qos = new QosTable(node.kernel, 'margay-qos')
  const ask = async (pod: Pod, asked: Qos | undefined) => {
    qos.setLocal(`default/${pod.name}`, {
      interfaceName: pod.interfaceName,
      profiles: [],
      ...(asked && { qos: asked }),
    })
    const outcomes = [await qos.put(), await qos.remove()]
    t.deepEqual(
      outcomes.flatMap(({ refused }) => refused),
      [],
    )
  }
  const send = async (from: Pod, to: Pod, count: number) => {
    nft(node.space.path, ['-f', '-'], `table ip probe { }\ndelete table ip probe\n${PROBE}`)
    const script = `for i in $(seq ${count}); do echo x > /dev/udp/${to.address}/9000; done`
    await once(node.run(from, 'bash', ['-c', script]), 'exit')
    let counters = new Map<string, number>()
    // a busy kernel takes them in later
    while ((counters.get('came') ?? 0) < count)
      counters = await namedCounters(node.kernel, { family: 'ip', name: 'probe' })
    return [counters.get('passed'), counters.get('marked')] as const
  }
  qos.setPool(`${web.address}/32`, 'in')

  await ask(friend, { egress: { rate: { perSecond: 1, burst: 5 } } })
  const [passed] = await send(friend, web, 40)
  t.true(passed! >= 5 && passed! <= 10, `${passed} of 40 passed`)
  t.deepEqual(await send(web, friend, 40), [40, 0], 'the other direction has no limit')
  await ask(friend, { ingress: { rate: { perSecond: 1, burst: 5 } }, dscp: 46 })
  const [received] = await send(web, friend, 40)
  t.true(received! >= 5 && received! <= 10, `${received} of 40 passed`)
  t.deepEqual(await send(friend, web, 3), [3, 0], 'to an address of a pool')
  t.deepEqual(await send(friend, outside, 3), [3, 3])

  const open = async (count: number) => {
    const client = `const net = require('net'); const told = []
      const next = () => { if (told.length === ${count}) { console.log(told.join(' ')); process.exit() }
        const s = net.connect({ host: '${web.address}', port: 80, allowHalfOpen: true })
        s.once('data', d => { told.push(d); next() }).once('error', e => { told.push(e.code); next() }) }
      next()`
    const child = node.run(friend, process.execPath, ['-e', client])
    const [told] = await once(child.stdout!, 'data')
    await once(child, 'exit')
    return String(told).trim().split(' ')
  }
  await ask(friend, undefined)
  await ask(web, { ingress: { connections: 2 } })
  t.deepEqual(await open(3), ['hello', 'hello', 'ECONNREFUSED'])
  t.deepEqual(await open(2), ['hello', 'hello'], 'those that ended count no more')
  await ask(friend, { egress: { connections: 1 } })
  t.deepEqual(await open(2), ['hello', 'ECONNREFUSED'])

  const again = new QosTable(node.kernel, 'margay-qos')
  again.setLocal('default/web', {
    interfaceName: web.interfaceName,
    profiles: [],
    qos: { ingress: { connections: 2 } },
  })
  again.setLocal('default/friend', {
    interfaceName: friend.interfaceName,
    profiles: [],
    qos: { egress: { connections: 1 } },
  })
  t.deepEqual((await again.put()).written, [], 'what stands is adopted')

  await ask(web, undefined)
  await ask(friend, undefined)
  t.deepEqual(await open(3), ['hello', 'hello', 'hello'])
  const left = await node.kernel.nftables({ family: 'inet', name: 'margay-qos' })
  t.deepEqual([left?.chains, left?.sets], [[], []])
})
