// What must be true of a lab on any kernel: the lines that a person sees (DESIGN section 4), read from what the
// scenario observed. The test files say where it runs.
import type { ExecutionContext, TestFn } from 'ava'
import { PING_MS } from './bond.ts'
import type { Observations } from './scenario.ts'

export type Expected = {
  observed: () => Observations | undefined
  tunnel: 'ipip' | 'vxlan'
  /** How long healing may take; asked after the observation. */
  healMs: () => number
}

const DEVICE = { ipip: 'tunl0', vxlan: 'vxlan.calico' } as const

/** Declares the tests. Without an observation (no root, no virtual machine) each is skipped with the reason logged. */
export function claim(test: TestFn, skipped: () => string | undefined, { observed, tunnel, healMs }: Expected): void {
  const about = (title: string, check: (t: ExecutionContext, seen: Observations) => void) =>
    test(title, t => {
      const seen = observed()
      if (seen !== undefined) return check(t, seen)
      t.log(`skipped: ${skipped()}`)
      t.pass()
    })
  const node = (seen: Observations, name: string) => seen.nodes.find(each => each.name === name)!
  /** The block of a node: what it blackholes. */
  const blocksOf = (seen: Observations, name: string) =>
    node(seen, name).routes.flatMap(line => /^blackhole (\S+) proto 80$/.exec(line)?.[1] ?? [])

  about('every pair of pods answers its first ping', (t, { pairs }) => {
    t.is(pairs.length, 30)
    t.deepEqual(
      pairs.filter(({ ms }) => ms === undefined),
      [],
    )
  })

  about('the path is local on a node, direct on a LAN, and a tunnel between the LANs', (t, { pairs }) => {
    const lan = (pod: string) => (pod.startsWith('n3') ? 'B' : 'A')
    for (const { from, to, path } of pairs) {
      const expected = from.slice(0, 2) === to.slice(0, 2) ? 'local' : lan(from) === lan(to) ? 'direct' : tunnel
      t.is(path, expected, `${from} to ${to}`)
    }
  })

  about('every node has a session with every other', (t, { peers }) => {
    t.is(peers.length, 6)
    for (const peer of peers) t.is(peer.state.toLowerCase(), 'established', `${peer.node} to ${peer.address}`)
  })

  about('every node blackholes its own blocks with protocol 80', (t, seen) => {
    for (const { name, pods } of seen.nodes) {
      const blocks = blocksOf(seen, name)
      t.true(blocks.length >= 1, name)
      for (const pod of pods)
        t.true(
          blocks.some(block => covers(block, pod)),
          `${pod} of ${name} in ${blocks}`,
        )
    }
  })

  about('a block on the same LAN is reached through its node, on the uplink', (t, seen) => {
    for (const block of blocksOf(seen, 'n2'))
      t.true(node(seen, 'n1').routes.includes(`${block} via ${node(seen, 'n2').address} dev eth0 proto 80`))
  })

  about('a block behind the router is reached through the tunnel device, on link', (t, seen) => {
    for (const block of blocksOf(seen, 'n3')) {
      const lines = node(seen, 'n1').routes.filter(line => line.startsWith(`${block} `))
      t.is(lines.length, 1)
      if (tunnel === 'ipip') t.is(lines[0], `${block} via ${node(seen, 'n3').address} dev tunl0 proto 80 onlink`)
      else t.regex(lines[0]!, new RegExp(`^${block} via \\S+ dev ${DEVICE[tunnel]} proto 80 onlink$`))
    }
  })

  about('a pod on this node is reached through its own interface', (t, seen) => {
    for (const pod of node(seen, 'n1').pods)
      t.true(node(seen, 'n1').routes.some(line => new RegExp(`^${pod} dev cali[0-9a-f]{11} scope link$`).test(line)))
  })

  about("a pod has its address as a /32 and the link-local gateway's two routes", (t, { pod }) => {
    t.regex(pod.addresses, new RegExp(`inet ${pod.address}/32 scope global eth0`))
    t.deepEqual(pod.routes, ['default via 169.254.1.1 dev eth0', '169.254.1.1 dev eth0 scope link'])
  })

  about('arping of the gateway from a pod is answered by EE:EE:EE:EE:EE:EE', (t, { pod }) => {
    t.regex(pod.arping, /reply from 169\.254\.1\.1 \[EE:EE:EE:EE:EE:EE\]/)
  })

  about('arping of the gateway from the router is answered by no node', (t, { routerArping }) => {
    t.regex(routerArping, /Received 0 response/)
  })

  about('the host side is named cali and has the MAC ee:ee:ee:ee:ee:ee', (t, { host }) => {
    t.regex(host.link, /^\d+: cali[0-9a-f]{11}@if\d+: .*link\/ether ee:ee:ee:ee:ee:ee .*link-netns/)
  })

  about('the router sees packets between nodes with pod packets inside, and no bare pod packet', (t, { capture }) => {
    const outer = String.raw`^\S+ IP 192\.168\.\d+\.11(\.\d+)? > 192\.168\.\d+\.11`
    const between = tunnel === 'ipip' ? ': ' : String.raw`\.4789: VXLAN, .* `
    const wrapped = new RegExp(String.raw`${outer}${between}IP 10\.244\.\S+ > 10\.244\.\S+: ICMP echo`)
    t.true(capture.filter(packet => wrapped.test(packet)).length >= 12, capture.join('\n'))
    t.deepEqual(
      capture.filter(packet => /^\S+ IP 10\.244\./.test(packet)),
      [],
    )
  })

  about('tunnel packets of a pod and of a stranger are dropped and counted, and reach no pod', (t, { forged }) => {
    t.deepEqual(forged.fromPod, ['forwarded IP-in-IP that no node sent', 'forwarded VXLAN that no node sent'])
    t.true(
      forged.fromRouter.includes(`${tunnel === 'ipip' ? 'IP-in-IP' : 'VXLAN'} that no node sent`),
      `${forged.fromRouter}`,
    )
    t.is(forged.heard, 0)
  })

  about('what is broken by hand is as before in time', (t, { healing }) => {
    t.is(healing.length, 5)
    t.log(...healing.map(({ what, ms }) => `${what}: ${ms} ms`))
    for (const { what, ms } of healing) t.true(ms < healMs(), `${what}: ${ms} ms`)
  })

  about(
    'containers of bridge and ptp with margay-ipam reach pods and each other on all nodes with their first packet',
    (t, seen) => {
      if (seen.plugins === undefined) {
        t.log('skipped: Debian’s containernetworking-plugins are not installed')
        t.pass()
        return
      }
      const { tried, lost, routes } = seen.plugins
      t.deepEqual(lost, [])
      t.is(tried, 5 * 10 * 2)
      // the bridge's own route comes before that of the block
      const [bridge = ''] = routes.filter(line => line.includes('dev br0')).map(line => line.split(' ')[0])
      t.true(routes.includes(`blackhole ${bridge} proto 80 metric 1024`), routes.join('\n'))
    },
  )

  about(
    'containers of macvlan and ipvlan with margay-ipam reach each other, the router, what is behind it, the other node and a pod there with their first packet; no node has a route to their blocks',
    (t, { lan }) => {
      for (const { type, tried, lost, routes } of lan) {
        t.deepEqual(lost, [], type)
        t.is(tried, 3 * (2 + 2) + 3 * 2 * 2, type)
        t.deepEqual(routes, [], type)
      }
      t.log(`of ${lan.map(({ type }) => type).join(' and ') || 'none'}`)
      t.pass()
    },
  )

  about(
    'an interface that the plugin vrf puts into a VRF has its routes there, whose programs reach pods and are reached by it with their first packet; CHECK finds no fault, and DEL leaves nothing',
    (t, { vrf }) => {
      if (vrf === undefined) {
        t.log('skipped: this kernel has no VRFs, or Debian’s containernetworking-plugins are not installed')
        t.pass()
        return
      }
      t.log(`its routes were there after ${vrf.routesMs} ms`)
      const routes = (dev: string, metric: string) =>
        [`default via 169.254.1.1 dev ${dev}${metric}`, `169.254.1.1 dev ${dev} scope link${metric}`].join('\n')
      t.is(vrf.routes.join('\n'), routes('net1', ' metric 1025'))
      t.is(vrf.others.join('\n'), routes('eth0', ''))
      t.deepEqual(vrf.lost, [])
      t.is(vrf.tried, 2 * (2 + 2))
      t.deepEqual(vrf.checks, ['', '', ''])
      t.deepEqual(vrf.left, [])
    },
  )

  about('a connection that lasts passes the hooks by, and a policy that denies it ends it', (t, { offload }) => {
    if (offload === undefined) {
      t.log('skipped: this kernel has no flowtables')
      t.pass()
      return
    }
    t.log(`of ${offload.sent} packets ${offload.met} met the hook; silent ${offload.cutMs} ms after the policy`)
    t.true(offload.met > 0 && offload.met < offload.sent / 2, JSON.stringify(offload))
    t.true(offload.cutMs < 5 * healMs(), JSON.stringify(offload))
  })

  about('kill -9 of an agent and its restart lose no ping', (t, { restart }) => {
    t.is(restart.pings.length, 4)
    for (const each of restart.pings) {
      t.deepEqual(each.unanswered, [], JSON.stringify(each))
      t.true(each.killed < each.ready && each.ready < each.last, JSON.stringify(each))
    }
  })

  about(
    'with BFD on the mesh, over links and over routers, a killed agent is missed by it, and no ping for that',
    (t, { restart }) => {
      if (restart.watched === undefined) {
        t.log('the emulated machine is too slow for BFD: test/lab/lab.netns.test.ts shows it')
        t.pass()
        return
      }
      const { hops, losses, up } = restart.watched
      t.deepEqual(hops.toSorted(), ['multi', 'single'])
      t.true(losses.every(count => count >= 1))
      t.true(up)
    },
  )

  about('no route disappears while an agent is killed and starts again', (t, { restart }) => {
    t.deepEqual(restart.deleted, [])
  })

  about('DEL takes the route and the interface of its pod, and leaves its neighbour alone', (t, { removed }) => {
    t.deepEqual(
      removed.routes.filter(line => line.startsWith(`${removed.address} `)),
      [],
    )
    t.notRegex(removed.links, /eth0/)
    t.regex(removed.neighbour, / 0% packet loss/)
  })

  about('a node whose address changed is reached by the new one within seconds, with the same pods', (t, { moved }) => {
    t.log(`${moved.ms} ms`)
    t.true(moved.ms < 15 * healMs(), `${moved.ms} ms`)
    for (const line of moved.pings) t.regex(line, / 0% packet loss/)
  })

  about(
    'a node whose uplink becomes a VLAN of a bond is reached by it, and loses no route when a cable of the bond fails',
    (t, seen) => {
      if (seen.bonded === undefined) {
        t.log('skipped: this kernel has no bonding or no VLANs')
        t.pass()
        return
      }
      const { uplinkMs, remadeMs, active, failover, mtu, fullSize } = seen.bonded
      t.log(`${uplinkMs} ms, made again ${remadeMs} ms; of ${failover.sent} packets ${failover.unanswered.length} lost`)
      t.true(uplinkMs < 15 * healMs(), `${uplinkMs} ms`)
      const [first, second] = active
      t.deepEqual([first, second].sort(), ['eth0', 'eth1'])
      t.is(active[2], second, 'a cable that comes back is not taken at once')
      t.deepEqual(failover.deleted, [])
      t.true(failover.unanswered.length * PING_MS < healMs(), JSON.stringify(failover))
      t.deepEqual(mtu, { vlan: 1400, tunnel: 1380, pod: 1380, host: 1380 })
      t.regex(fullSize, / 0% packet loss/)
      t.true(remadeMs < 15 * healMs(), `${remadeMs} ms`)
    },
  )
}

function covers(block: string, address: string): boolean {
  const number = (text: string) => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  const [start, length] = block.split('/')
  const size = 2 ** (32 - Number(length))
  return Math.floor(number(start!) / size) === Math.floor(number(address) / size)
}
