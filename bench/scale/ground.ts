// Where the bench runs: a network namespace of its own with one uplink to nowhere, which ends with the process. Agents of
// two checkouts run one after the other in it, and the host's links and routes stay as they are.
import { execFileSync, spawnSync } from 'node:child_process'
import { systemProgram } from '../../lib/system-program.ts'

/**
 * This node's address; the simulated nodes' addresses lie in the same /16. As a text it is the largest, so that by
 * Calico's rule this node dials all others.
 */
export const NODE_ADDRESS = '10.99.99.254'
const INSIDE = 'MARGAY_BENCH_INSIDE'

/** Runs this program again in a namespace of its own, and ends with its exit code; returns when it is already there. */
export function enterNamespace(): void {
  if (process.env[INSIDE] !== undefined) {
    buildUplink()
    return
  }
  const argv = ['--net', '--mount', process.execPath, ...process.argv.slice(1)]
  const { status } = spawnSync(systemProgram('unshare'), argv, {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  })
  process.exit(status ?? 1)
}

/**
 * The simulated nodes' addresses are local ones: a peer without a process behind it refuses the connection at once, as a
 * node whose agent is down, and a simulated peer can listen on any of them.
 */
function buildUplink(): void {
  const ip = (text: string): void => void execFileSync(systemProgram('ip'), text.split(' '))
  ip('link set lo up')
  ip('link add up0 type bridge')
  ip(`addr add ${NODE_ADDRESS}/16 dev up0`)
  ip('link set up0 arp off up')
  ip('route add default via 10.99.255.254')
  ip('route add local 10.99.0.0/16 dev lo')
}
