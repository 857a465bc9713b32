// What other programs take from a pod's interface on this machine's kernel is heard on the host, and put back.
import test from 'ava'
import type { Condition } from '../../api/status.ts'
import { PodRepair } from '../../cni/pod-repair.ts'
import { PodWatch } from '../../cni/pod-watch.ts'
import { ANSWER_MS } from '../slowness.ts'
import { addressOf, conf, resultOf, type TestNode, withNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

/** Watches the pods of a node, and waits for what is put back. */
async function watching(node: TestNode) {
  const healed: string[] = []
  const conditions: Condition[] = []
  let wake = () => {}
  node.stopRepairs()
  const repair = new PodRepair({
    ...node.deps,
    healed: (_endpoint, what) => {
      healed.push(what)
      wake()
    },
  })
  let looks = 0
  const watch = new PodWatch({
    ...{ ...node.deps, kernel: node.kernel },
    repair: {
      async mend(...of) {
        await repair.mend(...of)
        looks++
        wake()
      },
    },
    report: now => conditions.push(...now),
    addressesChanged: () => wake(),
  })
  const until = async (what: string, isSo: () => boolean) => {
    const deadline = Date.now() + ANSWER_MS
    while (!isSo()) {
      if (Date.now() > deadline) throw new Error(`${what} not within ${ANSWER_MS} ms; healed: ${healed.join('\n')}`)
      await new Promise<void>(resolve => {
        wake = resolve
        setTimeout(resolve, 1000)
      })
    }
  }
  await watch.start()
  // what is missing then is left
  await until('a look at each pod', () => looks >= node.deps.endpoints.live().length)
  return {
    ...{ watch, healed, conditions, until },
    close() {
      watch.close()
      repair.close()
    },
  }
}

asRoot('what programs take from the interface of a pod is back in well under a second, told with who took it', t =>
  withNode(async node => {
    const [netns, other, third] = [node.pod(), node.pod(), node.pod()]
    const config = conf({ ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, config))
    const far = resultOf(t, await node.run('ADD', { CNI_NETNS: other, CNI_CONTAINERID: 'c2' }, config))
    const last = resultOf(t, await node.run('ADD', { CNI_NETNS: third, CNI_CONTAINERID: 'c3' }, config))
    const [v4, v6] = [addressOf(result), addressOf(far, 1)]
    const added = new Map([
      [netns, ['c1', result]],
      [other, ['c2', far]],
      [third, ['c3', last]],
    ] as const)
    const it = await watching(node)
    // no pod loses the same thing more than twice: it would not be put back then
    const damages: readonly (readonly [netns: string, command: string, says: RegExp])[] = [
      [
        netns,
        'ip addr flush dev eth0 scope global',
        new RegExp(`address ${v4}/32 dev eth0 was deleted by .*process \\d+`),
      ],
      [netns, 'ip route del default', /^route 0\.0\.0\.0\/0 dev eth0 was deleted by .*process \d+\)?; put back$/],
      [other, 'ip route flush table main', /route 169\.254\.1\.1\/32 dev eth0 was deleted by .*process \d+/],
      [
        netns,
        'ip neigh del 169.254.1.1 dev eth0',
        /^neighbour 169\.254\.1\.1 dev eth0 was .*process \d+\)?; put back$/,
      ],
      [
        other,
        'ip neigh replace 169.254.1.1 dev eth0 lladdr 02:00:00:00:00:09 nud permanent',
        /neighbour 169\.254\.1\.1 dev eth0 was changed from ee:\S+ permanent to 02:00:00:00:00:09 permanent by /,
      ],
      [netns, 'ip link set eth0 mtu 9000', /^link eth0 mtu was changed from 1450 to 9000 by .*; put back$/],
      [third, 'ip link set eth0 down', /^link eth0 state was changed from up to down by /],
      [
        other,
        'sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1',
        new RegExp(`disable_ipv6 was changed from 0 to 1 .*address ${v6}/128`),
      ],
    ]
    const times: number[] = []
    for (const [where, command, says] of damages) {
      it.healed.length = 0
      const [program, ...args] = command.split(' ') as [string, ...string[]]
      t.is((await node.exec(where, program, ...args)).code, 0, command)
      const startMs = performance.now()
      await it.until(command, () => it.healed.length > 0)
      times.push(Math.round(performance.now() - startMs))
      t.regex(it.healed.join('\n'), says, command)
      const [id, prevResult] = added.get(where)!
      const check = () => node.run('CHECK', { CNI_NETNS: where, CNI_CONTAINERID: id }, { ...config, prevResult })
      let { stdout } = await check()
      // the kernel makes an IPv6 address its own in a work queue
      for (const endMs = performance.now() + ANSWER_MS; stdout !== '' && performance.now() < endMs; )
        ({ stdout } = await check())
      t.is(stdout, '', command)
    }
    for (const each of [far, last]) t.is((await node.exec(netns, 'ping', '-c1', '-W9', addressOf(each))).code, 0)
    t.log(`${times.join(' ')} ms`)
    t.deepEqual(it.conditions, [])

    // nothing of it was the other pod's, and what comes beside is known with who added it
    await node.exec(other, 'ip', 'addr', 'add', `${v4}/32`, 'dev', 'lo')
    await it.until('the address', () => [...it.watch.foreignAddresses()].length > 0)
    const [took] = [...it.watch.foreignAddresses()]
    t.like(took, { address: v4, endpoint: { containerID: 'c2' } })
    t.regex(took?.by ?? '', /process \d+/)
    it.close()
  }),
)
