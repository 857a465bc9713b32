// The bandwidth that pods ask for, with their packets in a real kernel, and beside Debian's plugin.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import test from 'ava'
import { Bandwidth } from '../../felix/bandwidth.ts'
import type { Shape } from '../../kernel/reconcile/objects.ts'
import type { Outcome } from '../../kernel/reconcile/outcome.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { namedCounters, nft } from '../kernel/nftables-programs.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { type Pod, PodNode } from './pod-node.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('bandwidth is measured by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** Octets per second: slow enough for a busy machine, and fast enough for a short test. */
const RATE = 1_000_000
const TOTAL = 1_200_000
/** Not measured: what was saved up goes at once. */
const FIRST = 200_000
/** A busy machine may keep both programs from running; no limit can be passed by that. */
const ATTEMPTS = 8
/** Counts what comes in by the interface of the first pod. */
const PROBE = `table inet probe {
  counter by_interface { }
  chain early { type filter hook prerouting priority -300; iifname "cali1" tcp dport 81 counter name by_interface; }
}`
const PLUGIN = '/usr/lib/cni/bandwidth'

/** Octets per second of one TCP connection over IPv4. */
async function rateOf(node: PodNode, from: Pod, to: Pod): Promise<number> {
  const server = `require('net').createServer(s => { let n = 0, from; s.on('data', d => {
    n += d.length
    if (from === undefined && n >= ${FIRST}) from = { n, at: performance.now() }
    if (n < ${TOTAL}) return
    console.log(Math.round((n - from.n) / (performance.now() - from.at) * 1000)); process.exit() })
  }).listen(81, '0.0.0.0', () => console.log('on'))`
  const receiver = node.run(to, process.execPath, ['-e', server])
  await once(receiver.stdout!, 'data')
  const client = `require('net').connect({ host: '${to.address}', port: 81 }).on('error', () => {}).write(Buffer.alloc(${TOTAL}))`
  const sender = node.run(from, process.execPath, ['-e', client])
  const ended = once(sender, 'exit')
  const [told] = await once(receiver.stdout!, 'data')
  sender.kill('SIGKILL')
  await ended
  return Number(told)
}

netns(
  'a pod sends and gets as fast as it asks, within 15 %, others are not slowed, and nothing is left of it',
  async t => {
    await using node = new PodNode()
    await node.start()
    const [web, friend] = [await node.add('web'), await node.add('friend')]
    const bandwidth = new Bandwidth(node.kernel, { podPrefix: 'cali', linkPrefix: 'mgbw' }, () => 0)
    const ask = async (shape: Shape | undefined) => {
      bandwidth.setLocal('shop/web', {
        interfaceName: web.interfaceName,
        profiles: [],
        ...(shape && { bandwidth: shape }),
      })
      t.deepEqual((await bandwidth.put()).refused, [])
    }
    const isAsAsked = async (from: Pod, to: Pod, what: string) => {
      const seen: number[] = []
      for (let left = ATTEMPTS; left > 0; left--) {
        const rate = await rateOf(node, from, to)
        seen.push(rate)
        if (Math.abs(rate - RATE) <= 0.15 * RATE) return
      }
      t.fail(`${what}: ${seen.join(', ')} octets a second instead of ${RATE}`)
    }
    const slow = { rate: RATE, burst: 20_000 }
    await ask({ ingress: slow })
    await isAsAsked(friend, web, 'to the pod')
    t.true((await rateOf(node, web, friend)) > 2 * RATE, 'the other direction has no limit')
    await ask({ egress: slow })
    nft(node.space.path, ['-f', '-'], PROBE)
    await isAsAsked(web, friend, 'from the pod')
    const counters = await namedCounters(node.kernel, { family: 'inet', name: 'probe' })
    t.true(counters.get('by_interface')! > 20, 'rules see the interface of the pod')
    t.true((await rateOf(node, friend, web)) > 2 * RATE)
    t.true(await node.reaches(friend, web))
    const monitor = node.kernel.monitor(event => void bandwidth.observeEvent(event))
    const link = web.interfaceName.replace('cali', 'mgbw')
    const tc = [systemProgram('tc'), 'qdisc', 'del', 'dev', link, 'root']
    spawnSync(systemProgram('nsenter'), [`--net=${node.space.path}`, '--', ...tc])
    let healed: Outcome['healed'] = []
    for (let left = 1000; left > 0 && healed.length === 0; left--) {
      await new Promise(resolve => setTimeout(resolve, 10))
      healed = (await bandwidth.put()).healed
    }
    monitor.close()
    t.like(healed[0], { kind: 'shaping', key: `${web.interfaceName} egress` })
    t.truthy(healed[0]!.by, 'whoever deleted it is named')
    await ask(undefined)
    t.true((await rateOf(node, web, friend)) > 2 * RATE)
    t.deepEqual(
      (await node.kernel.links()).filter(({ kind }) => kind === 'ifb'),
      [],
    )
    t.deepEqual(
      (await node.kernel.qdiscs()).filter(({ handle }) => handle !== 0),
      [],
    )
  },
)

const CONTAINER = { CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: '/' }
const debian = isRoot && existsSync(PLUGIN) ? test : test.skip
debian(
  'Debian’s plugin bandwidth finds the interface of a pod free that has an annotation which it reads; what it limits stays its own, and is told of a pod that asks us too',
  async t => {
    await using node = new PodNode()
    await node.start()
    const web = await node.add('web')
    const call = (command: 'ADD' | 'DEL') => {
      const prevResult = {
        cniVersion: '1.0.0',
        interfaces: [{ name: web.interfaceName }, { name: 'eth0', sandbox: web.space.path }],
        ips: [{ address: `${web.address}/32`, interface: 1 }],
      }
      const limits = { ingressRate: 8e6, ingressBurst: 2e5, egressRate: 8e6, egressBurst: 2e5 }
      const conf = {
        cniVersion: '1.0.0',
        name: 'net',
        type: 'bandwidth',
        runtimeConfig: { bandwidth: limits },
        prevResult,
      }
      const { status, stdout, stderr } = spawnSync(
        systemProgram('nsenter'),
        [`--net=${node.space.path}`, '--', PLUGIN],
        {
          input: JSON.stringify(conf),
          env: { ...CONTAINER, CNI_COMMAND: command, CNI_NETNS: web.space.path },
          encoding: 'utf8',
        },
      )
      t.is(status, 0, stdout + stderr)
    }
    const theirs = async () => (await node.kernel.qdiscs()).filter(({ handle }) => handle !== 0)
    const slow = { rate: RATE, burst: 20_000 }
    const clock = { nowMs: 0 }
    const bandwidth = new Bandwidth(node.kernel, { podPrefix: 'cali', linkPrefix: 'mgbw' }, () => clock.nowMs)
    const ask = (shape: Shape) =>
      bandwidth.setLocal('shop/web', { interfaceName: web.interfaceName, profiles: [], bandwidth: shape })
    ask({ ingress: slow, egress: slow, yields: true })
    t.deepEqual((await bandwidth.put()).written, [])
    call('ADD')
    const before = await theirs()
    t.true(before.length >= 3)
    clock.nowMs += 60_000
    t.deepEqual((await bandwidth.put()).written, [])
    t.deepEqual([await theirs(), bandwidth.conditions([])], [before, []], 'it does what was asked for')
    ask({ ingress: slow, egress: slow })
    t.deepEqual((await bandwidth.put()).written, [])
    t.deepEqual(await theirs(), before)
    const [told] = bandwidth.conditions([])
    t.regex(told!.message, /cali1: qdisc tbf 1: .* for ingress, .*; cali1: a filter of what comes in .* for egress/)
    bandwidth.setLocal('shop/web', undefined)
    await bandwidth.put()
    t.deepEqual(await theirs(), before)
    call('DEL')
  },
)
