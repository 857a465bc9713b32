// Addresses of Services from outside of the cluster: the router between the LANs runs BIRD and learns them from the nodes, with all
// equal paths, and a client beside the API server asks through it.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { netnsPath, spawnInNetns } from '../../kernel/netns.ts'
import { until } from '../../lab/program.ts'
import type { Case, Cluster } from './case.ts'
import { eventually, fetchFrom, rolledOut, seconds, withPods } from './observe.ts'

const ROUTER_AS = 65001
const LOCAL = '198.51.100.10'
const EXTERNAL = '198.51.100.200'
const RANGES = {
  serviceLoadBalancerIPs: [{ cidr: '198.51.100.0/25' }],
  serviceExternalIPs: [{ cidr: '198.51.100.128/25' }],
}
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
  const [socket, when] = [dgram.createSocket('udp4'), at()]
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

const services = (app: string) => {
  const ports = [
    { name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' },
    { name: 'udp', port: 81, targetPort: 8081, protocol: 'UDP' },
  ]
  const made = (name: string, spec: object) => ({
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name } },
    spec: { selector: { app }, ports, ...spec },
  })
  // of a class that nobody serves: the address is given by hand
  const local = { type: 'LoadBalancer', loadBalancerClass: 'example.org/hand', externalTrafficPolicy: 'Local' }
  return [made('local', local), made('external', { externalIPs: [EXTERNAL] })]
}

function birdConfig({ lab }: Cluster): string {
  const sessions = lab.plan.nodes.map(
    ({ name, address, lan }) => `protocol bgp ${name} {
  local ${lan.gateway} as ${ROUTER_AS}; neighbor ${address} as 64512;
  connect delay time 1; connect retry time 1; error wait time 1,2;
  ipv4 { export none; import filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }; };
}`,
  )
  return `router id ${lab.plan.api.gateway};
protocol device {}
protocol kernel { merge paths yes; ipv4 { import none; export where source = RTS_BGP; }; }
${sessions.join('\n')}
`
}

/** Calls `work` while the router runs BIRD with a session to every node, and Services have their ranges. */
async function withRouter<T>(cluster: Cluster, work: () => Promise<T>): Promise<T> {
  const { lab } = cluster
  const folder = mkdtempSync(join(tmpdir(), 'margay-bird-'))
  const [config, socket] = [join(folder, 'bird.conf'), join(folder, 'bird.ctl')]
  writeFileSync(config, birdConfig(cluster))
  const args = ['-f', '-c', config, '-s', socket, '-P', join(folder, 'bird.pid')]
  const bird = spawnInNetns(netnsPath(lab.plan.router.netns), 'bird', args, { stdio: 'ignore' })
  const v3 = (kind: string, name: string, spec: object) => ({
    ...{ apiVersion: 'projectcalico.org/v3', kind, metadata: { name } },
    spec,
  })
  const peers = lab.plan.nodes.map(({ name, lan }) =>
    v3('BGPPeer', `bird-${name}`, { node: name, peerIP: lan.gateway, asNumber: ROUTER_AS }),
  )
  try {
    await lab.apply([v3('BGPConfiguration', 'default', RANGES), ...peers])
    return await work()
  } finally {
    await lab.must(['delete', 'bgpconfiguration/default', ...peers.map(({ metadata }) => `bgppeer/${metadata.name}`)])
    bird.kill()
    await new Promise(resolve => bird.once('exit', resolve))
    rmSync(folder, { recursive: true })
  }
}

/** The next hops of the router to an address. */
async function nextHops({ lab }: Cluster, address: string): Promise<string[]> {
  const { stdout } = await lab.inNetns(lab.plan.router.netns, ['ip', 'route', 'show', 'exact', address])
  return [...stdout.matchAll(/via (\S+)/g)].map(([, hop]) => hop!).sort()
}

export const serviceCases: readonly Case[] = [
  {
    title:
      'a client behind a router with BIRD reaches external and LoadBalancer addresses, a Local one through rolling updates without a lost datagram',
    short: false,
    async run(cluster) {
      const { lab } = cluster
      const { api, nodes } = lab.plan
      return await withRouter(cluster, () =>
        withPods(
          cluster,
          'announced',
          2,
          async pods => {
            await lab.apply(services('announced'))
            try {
              const status = { status: { loadBalancer: { ingress: [{ ip: LOCAL }] } } }
              await lab.must([
                'patch',
                'service/local',
                '--subresource=status',
                '--type=merge',
                '-p',
                JSON.stringify(status),
              ])
              const addresses = (names: readonly string[]) => names.map(name => lab.node(name).address).sort()
              const isSo = async () =>
                (await nextHops(cluster, LOCAL)).join() === addresses(pods.map(({ node }) => node)).join() &&
                (await nextHops(cluster, '198.51.100.128/25')).join() ===
                  addresses(nodes.map(({ name }) => name)).join()
              assert.ok(await until(isSo, 60_000, 500), `the router has ${await nextHops(cluster, LOCAL)} to ${LOCAL}`)
              for (const address of [LOCAL, EXTERNAL])
                assert.match(
                  await eventually(() => fetchFrom(cluster, api.netns, `http://${address}/hostname`)),
                  /^announced-/,
                )
              const came = await askedWhile(cluster, async () => {
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
          },
          PODS,
        ),
      )
    },
  },
]

/** What a client outside had of the Local address while `work` went on. */
async function askedWhile({ lab }: Cluster, work: () => Promise<void>): Promise<Came> {
  const client = spawnInNetns(netnsPath(lab.plan.api.netns), process.execPath, ['-e', CLIENT, LOCAL], {
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
