// How long a Deployment takes until every pod is Ready, beside the reference plugins bridge and host-local on the same
// node in the same run, in turns: other work on this machine then slows both.
import assert from 'node:assert/strict'
import { deployment } from '../../lab/kubernetes/objects.ts'
import type { Case, Cluster } from './case.ts'
import { removeApp, rolledOut, seconds } from './observe.ts'

const PODS = 60
const TURNS = 2
const MOST_RATIO = 1.2

const BRIDGE = {
  cniVersion: '1.0.0',
  name: 'bridge',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.243.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
  ],
}

/** Of the names in /etc/cni/net.d the runtime takes the first. */
const BRIDGE_FILE = '/etc/cni/net.d/00-bridge.conflist'

export const speedCases: readonly Case[] = [
  {
    title: `${PODS} pods on one node are Ready in at most ${MOST_RATIO}x the time that bridge and host-local take`,
    short: false,
    async run(cluster) {
      const times = { margay: Infinity, bridge: Infinity }
      for (let turn = 0; turn < TURNS; turn++) {
        times.margay = Math.min(times.margay, await timeToReady(cluster))
        await useBridge(cluster, true)
        try {
          times.bridge = Math.min(times.bridge, await timeToReady(cluster))
        } finally {
          await useBridge(cluster, false)
        }
      }
      const ratio = times.margay / times.bridge
      const said = `Margay ${times.margay.toFixed(1)} s, bridge ${times.bridge.toFixed(1)} s: ${ratio.toFixed(2)}x`
      assert.ok(ratio <= MOST_RATIO, said)
      return said
    },
  },
]

async function timeToReady({ lab }: Cluster): Promise<number> {
  const startedMs = performance.now()
  try {
    await lab.apply([deployment('speed', PODS, { node: 'n1' })])
    await rolledOut(lab, 'speed')
    return (performance.now() - startedMs) / 1000
  } finally {
    await removeApp(lab, 'speed')
  }
}

async function useBridge({ lab }: Cluster, on: boolean): Promise<void> {
  const machine = lab.machine('n1')
  if (on) await machine.run(['tee', BRIDGE_FILE], { stdin: JSON.stringify(BRIDGE) })
  else {
    await machine.run(['rm', '-f', BRIDGE_FILE])
    await machine.run(['ip', 'link', 'delete', 'cni0'])
  }
  // containerd watches the folder
  await seconds(2)
}
