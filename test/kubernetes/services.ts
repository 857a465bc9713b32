// Addresses of Services from outside of the cluster: the router between the LANs runs BIRD and learns them from the nodes, with all
// equal paths, and a client beside the API server asks through it.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { netnsPath, spawnInNetns } from '../../kernel/netns.ts'
import type { NodePlan } from '../../lab/plan.ts'
import { until } from '../../lab/program.ts'
import type { Family } from '../../lib/ip.ts'
import type { Case, Cluster } from './case.ts'
import { eventually, fetchFrom, rolledOut, seconds, withPods } from './observe.ts'

const ROUTER_AS = 65001
const ADDRESSES = {
  ipv4: {
    ...{ loadBalancer: '198.51.100.0/25', external: '198.51.100.128/25' },
    ...{ local: '198.51.100.10', outside: '198.51.100.200' },
  },
  ipv6: {
    ...{ loadBalancer: '2001:db8:51::/120', external: '2001:db8:52::/120' },
    ...{ local: '2001:db8:51::10', outside: '2001:db8:52::20' },
  },
} as const
/** Longer than a node goes on announcing what it leaves. */
const PRE_STOP_SECONDS = 6
const UPDATES = 2

/** Asks by a datagram every 50 ms and by HTTP one after the other; at SIGTERM it prints what came of it. */
const CLIENT = `
const [dgram, http] = [require('dgram'), require('http')]
const host = process.argv[1]
const came = { asked: 0, lost: [], names: {}, fetched: 0, failed: [] }
const started = Date.now()
const at = () => ((Date.now() - started) / 1000).toFixed(1)
setInterval(() => {
  const [socket, when] = [dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4'), at()]
  came.asked++
  const timer = setTimeout(() => { came.lost.push(when); socket.close() }, 3000)
  socket.once('message', name => { came.names[name] = true; clearTimeout(timer); socket.close() })
  socket.send('hostname', 81, host)
}, 50)
const fetchNext = () => {
  const next = error => { if (error) came.failed.push(at() + ' ' + error.message); else came.fetched++; setTimeout(fetchNext, 20) }
  const request = http.get({ host, port: 80, path: '/hostname', agent: false, timeout: 5000 }, answer => answer.resume().once('end', () => next()))
  request.once('timeout', () => request.destroy(new Error('timeout'))).once('error', next)
}
fetchNext()
process.once('SIGTERM', () => setTimeout(() => { console.log(JSON.stringify(came)); process.exit() }, 3500))
`

type Came = { asked: number; lost: string[]; names: Record<string, true>; fetched: number; failed: string[] }

const PODS = {
  pod: { terminationGracePeriodSeconds: 2 * PRE_STOP_SECONDS },
  container: {
    args: ['netexec', '--http-port=8080', '--udp-port=8081'],
    readinessProbe: { httpGet: { path: '/hostname', port: 8080 }, periodSeconds: 1 },
    lifecycle: { preStop: { sleep: { seconds: PRE_STOP_SECONDS } } },
  },
}

const services = (app: string, family: Family) => {
  const ports = [
    { name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' },
    { name: 'udp', port: 81, targetPort: 8081, protocol: 'UDP' },
  ]
  const made = (name: string, spec: object) => ({
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name } },
    spec: { selector: { app }, ports, ipFamilies: [family === 'ipv4' ? 'IPv4' : 'IPv6'], ...spec },
  })
  // of a class that nobody serves: the address is given by hand
  const local = { type: 'LoadBalancer', loadBalancerClass: 'example.org/hand', externalTrafficPolicy: 'Local' }
  return [made('local', local), made('external', { externalIPs: [ADDRESSES[family].outside] })]
}

/** Where a node and the router of its LAN speak of routes of a family. */
function ends({ lan, address, address6 }: NodePlan, family: Family): { node: string; router: string } {
  return family === 'ipv4' ? { node: address, router: lan.gateway } : { node: address6, router: lan.gateway6 }
}

function birdConfig({ lab }: Cluster, family: Family): string {
  const sessions = lab.plan.nodes.map(node => {
    const { node: theirs, router } = ends(node, family)
    return `protocol bgp ${node.name} {
  local ${router} as ${ROUTER_AS}; neighbor ${theirs} as 64512;
  connect delay time 1; connect retry time 1; error wait time 1,2;
  ${family} { export none; import filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }; };
}`
  })
  return `router id ${lab.plan.api.gateway};
protocol device {}
protocol kernel { merge paths yes; ${family} { import none; export where source = RTS_BGP; }; }
${sessions.join('\n')}
`
}

/** Calls `work` while the router runs BIRD with a session to every node, and Services have their ranges. */
async function withRouter<T>(cluster: Cluster, family: Family, work: () => Promise<T>): Promise<T> {
  const { lab } = cluster
  const folder = mkdtempSync(join(tmpdir(), 'margay-bird-'))
  const [config, socket] = [join(folder, 'bird.conf'), join(folder, 'bird.ctl')]
  writeFileSync(config, birdConfig(cluster, family))
  const args = ['-f', '-c', config, '-s', socket, '-P', join(folder, 'bird.pid')]
  const bird = spawnInNetns(netnsPath(lab.plan.router.netns), 'bird', args, { stdio: 'ignore' })
  const v3 = (kind: string, name: string, spec: object) => ({
    ...{ apiVersion: 'projectcalico.org/v3', kind, metadata: { name } },
    spec,
  })
  const peers = lab.plan.nodes.map(node =>
    v3('BGPPeer', `bird-${node.name}`, { node: node.name, peerIP: ends(node, family).router, asNumber: ROUTER_AS }),
  )
  const { loadBalancer, external } = ADDRESSES[family]
  const ranges = { serviceLoadBalancerIPs: [{ cidr: loadBalancer }], serviceExternalIPs: [{ cidr: external }] }
  try {
    await lab.apply([v3('BGPConfiguration', 'default', ranges), ...peers])
    return await work()
  } finally {
    await lab.must(['delete', 'bgpconfiguration/default', ...peers.map(({ metadata }) => `bgppeer/${metadata.name}`)])
    bird.kill()
    await new Promise(resolve => bird.once('exit', resolve))
    rmSync(folder, { recursive: true })
  }
}

/** The next hops of the router to an address or a range. */
async function nextHops({ lab }: Cluster, to: string): Promise<string[]> {
  const { stdout } = await lab.inNetns(lab.plan.router.netns, ['ip', familyFlag(to), 'route', 'show', 'exact', to])
  return [...stdout.matchAll(/via (\S+)/g)].map(([, hop]) => hop!).sort()
}

const familyFlag = (address: string) => (address.includes(':') ? '-6' : '-4')

const announced = (family: Family): Case => ({
  title: `a client behind a router with BIRD reaches external and LoadBalancer addresses${family === 'ipv6' ? ' of IPv6' : ''}, a Local one through rolling updates without a lost datagram`,
  short: false,
  ipv6: family === 'ipv6',
  run: cluster =>
    withRouter(cluster, family, () =>
      withPods(cluster, 'announced', 2, pods => askedThroughUpdates(cluster, family, pods), PODS),
    ),
})

export const serviceCases: readonly Case[] = [announced('ipv4'), announced('ipv6')]

async function askedThroughUpdates(cluster: Cluster, family: Family, pods: readonly { node: string }[]) {
  const { lab } = cluster
  const { external, local, outside } = ADDRESSES[family]
  await lab.apply(services('announced', family))
  try {
    const status = JSON.stringify({ status: { loadBalancer: { ingress: [{ ip: local }] } } })
    await lab.must(['patch', 'service/local', '--subresource=status', '--type=merge', '-p', status])
    const nodes = (names: readonly string[]) => names.map(name => ends(lab.node(name), family).node).sort()
    const isSo = async () =>
      (await nextHops(cluster, local)).join() === nodes(pods.map(({ node }) => node)).join() &&
      (await nextHops(cluster, external)).join() === nodes(lab.plan.nodes.map(({ name }) => name)).join()
    assert.ok(await until(isSo, 60_000, 500), `the router has ${await nextHops(cluster, local)} to ${local}`)
    for (const address of [local, outside])
      assert.match(await eventually(() => fetchFrom(cluster, lab.plan.api.netns, urlOf(address))), /^announced-/)
    const came = await askedWhile(cluster, local, async () => {
      for (let i = 0; i < UPDATES; i++) {
        await lab.must(['rollout', 'restart', 'deployment/announced'])
        await rolledOut(lab, 'announced')
        await seconds(2 * PRE_STOP_SECONDS)
      }
    })
    assert.deepEqual(came.lost, [], `of ${came.asked} datagrams`)
    assert.ok(Object.keys(came.names).length >= 2 * UPDATES, Object.keys(came.names).join())
    return `${came.asked} datagrams; of ${came.fetched + came.failed.length} connections ${came.failed.length} cut ${came.failed.join(', ')}`
  } finally {
    await lab.must(['delete', 'service/local', 'service/external'])
  }
}

const urlOf = (address: string) => `http://${address.includes(':') ? `[${address}]` : address}/hostname`

/** What a client outside had of a Local address while `work` went on. */
async function askedWhile({ lab }: Cluster, local: string, work: () => Promise<void>): Promise<Came> {
  const client = spawnInNetns(netnsPath(lab.plan.api.netns), process.execPath, ['-e', CLIENT, local], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  client.stdout!.on('data', chunk => {
    text += chunk
  })
  const ended = new Promise(resolve => client.once('exit', resolve))
  try {
    await work()
  } finally {
    client.kill('SIGTERM')
    await ended
  }
  return JSON.parse(text) as Came
}
