// A connection between two pods of the first node that the kernel carries past its hooks, until a policy denies it.
import type { ChildProcess } from 'node:child_process'
import { netnsPath, spawnInNetns } from '../../kernel/netns.ts'
import type { Lab } from '../../lab/lab.ts'
import { runProgram, until } from '../../lab/program.ts'

/** Packets that the client sent, how many of them met the hook forward, and how long after the policy no word came back. */
export type Offload = { sent: number; met: number; cutMs: number }

const PORT = 81
const PACKETS = 150
/** How long nothing comes back of a connection that is cut. */
const SILENCE_MS = 1500
const LIMIT_MS = 3000
const PROBE = `table ip probe { chain f { type filter hook forward priority 0; tcp dport ${PORT} counter; }; }`
const DENY = {
  ...{ selector: "pod == 'n1-p2'", types: ['Ingress'] },
  ingress: [{ action: 'Deny', protocol: 'TCP', destination: { ports: [PORT] } }, { action: 'Allow' }],
}

/** Undefined where the kernel has no flowtables. What it sets stays: from now on connections of all nodes are carried so. */
export async function offload(lab: Lab, { patience }: { patience: number }): Promise<Offload | undefined> {
  const [client, server] = ['n1-p1', 'n1-p2'].map(name => lab.pods.find(({ pod }) => pod.name === name)!)
  const { netns } = client!.node
  const run = async (...argv: string[]) => (await runProgram(argv, { netns })).stdout
  const nft = (...argv: string[]) => run('nft', ...argv)
  const { code } = await runProgram(
    ['nft', '--check', 'table ip probe { flowtable f { hook ingress priority 0; }; }'],
    { netns: lab.plan.router.netns },
  )
  if (code !== 0) return undefined
  const device = / dev (\S+)/.exec(await run('ip', 'route', 'show', client!.address))![1]!
  const sent = async () => {
    const [link] = JSON.parse(await run('ip', '-j', '-s', 'link', 'show', 'dev', device)) as LinkCounts[]
    return link!.stats64.rx.packets
  }
  const met = async () => Number(/counter packets (\d+)/.exec(await nft('list', 'table', 'ip', 'probe'))![1])

  await lab.putObjects([
    {
      kind: 'FelixConfiguration',
      object: { metadata: { name: 'default' }, spec: { nftablesFlowTableOffload: 'All' } },
    },
  ])
  const isThere = async () => (await nft('list', 'flowtables')).includes(device)
  if (!(await until(isThere, LIMIT_MS * patience, 50))) throw new Error(`no flowtable with ${device}`)
  await nft(PROBE)
  const inPod = (pod: typeof client, argv: readonly string[]) =>
    spawnInNetns(netnsPath(pod!.pod.netns), 'busybox', argv, { stdio: ['ignore', 'pipe', 'ignore'], detached: true })
  using _ = ended(inPod(server, ['nc', '-ll', '-p', `${PORT}`, '-e', 'cat']))
  const talk = `while :; do while :; do echo x; busybox usleep 5000; done | busybox nc ${server!.address} ${PORT}; done`
  const talker = inPod(client, ['sh', '-c', talk])
  using __ = ended(talker)
  let lastMs = 0
  talker.stdout!.on('data', () => {
    lastMs = performance.now()
  })
  const before = await sent()
  if (!(await until(async () => (await sent()) - before >= PACKETS, LIMIT_MS * patience, 50)))
    throw new Error('the pods do not talk')
  const counts = { met: await met(), sent: (await sent()) - before }
  await lab.putObjects([{ kind: 'GlobalNetworkPolicy', object: { metadata: { name: 'deny' }, spec: DENY } }])
  const deniedMs = performance.now()
  const isCut = async () => performance.now() - lastMs > SILENCE_MS
  const cut = await until(isCut, LIMIT_MS * patience, 50)
  return { ...counts, cutMs: cut ? Math.max(0, Math.round(lastMs - deniedMs)) : Number.MAX_SAFE_INTEGER }
}

type LinkCounts = { stats64: { rx: { packets: number } } }

/** Ends it and what it started with the scope. */
function ended({ pid }: ChildProcess): Disposable {
  return { [Symbol.dispose]: () => process.kill(-pid!, 'SIGKILL') }
}
