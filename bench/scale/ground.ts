// Where the bench runs: a network namespace of its own with one uplink to nowhere, which ends with the process. Agents of
// two checkouts run one after the other in it, and the host's links and routes stay as they are.
import { execFileSync, spawnSync } from 'node:child_process'
import { systemProgram } from '../../lib/system-program.ts'

/**
 * This node's address; the simulated nodes' addresses lie in the same /16. As a text it is the largest, so that by
 * Calico's rule this node dials all others.
 */
export const NODE_ADDRESS = '10.99.99.254'
/** This node's address where all others join it: as a text the smallest of all, so that by Calico's rule they dial. */
export const JOINED_ADDRESS = '10.99.0.1'
/** The addresses of all nodes: 10.99.0.0 to 10.99.239.255. */
const NODE_PREFIXES = ['10.99.0.0/17', '10.99.128.0/18', '10.99.192.0/19', '10.99.224.0/20']
/** Of all nodes and the router. */
export const CLUSTER_ASN = 64512
/** A BGP speaker that is no node. Its next hops lie behind the uplink, since a local address is none. */
export const ROUTER = {
  address: '10.99.239.254',
  nextHops: ['10.99.250.1', '10.99.250.2'],
  routes: 1000,
} as const
const INSIDE = 'MARGAY_BENCH_INSIDE'

/**
 * Runs this program again in a namespace of its own, and ends with its exit code; returns when it is already there, with
 * `address` as this node's.
 */
export function enterNamespace(address = NODE_ADDRESS): void {
  if (process.env[INSIDE] !== undefined) {
    buildUplink(address)
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, () => process.exit(1))
    return
  }
  const argv = ['--net', '--mount', process.execPath, ...process.argv.slice(1)]
  const { status } = spawnSync(systemProgram('unshare'), argv, {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  })
  process.exit(status ?? 1)
}

/** From now on this machine answers path probes to all nodes (`probeAddress`): no network loses any. */
export function answerProbes(): void {
  ip('route add local 10.127.0.0/16 dev lo')
}

function ip(text: string): void {
  execFileSync(systemProgram('ip'), text.split(' '))
}

/** The simulated nodes' addresses are local ones, so that one process can listen on each of them, or on none of a node. */
function buildUplink(address: string): void {
  ip('link set lo up')
  ip('link add up0 type bridge')
  ip(`addr add ${address}/16 dev up0`)
  ip('link set up0 arp off up')
  ip('route add default via 10.99.255.254')
  for (const prefix of NODE_PREFIXES) ip(`route add local ${prefix} dev lo`)
}
