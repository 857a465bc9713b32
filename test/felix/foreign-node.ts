// A node that felix has brought to what is wanted, for tests of what other programs do to it: who is said to have done what, what
// is told, and programs that run there.
import { once } from 'node:events'
import type { ExecutionContext } from 'ava'
import type { Condition } from '../../api/status.ts'
import type { Endpoint } from '../../felix/input.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath, spawnInNetns } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { openNetns } from './netns.ts'
import { addLink, setUpNode } from './node-kernel.ts'
import { BARE_POOL, LEARNED, learned, tell, WITHOUT_IPIP } from './worlds.ts'

type Healed = { name: string; by: string | undefined; message: string }
export type OnNode = {
  kernel: Kernel
  felix: Felix
  healed: Healed[]
  /** Strays of other programs that were removed. */
  removed: Healed[]
  /** What is not well now, by its key. */
  conditions: ReadonlyMap<string, Condition>
  /** What the recorder is told, a line each. */
  changes: readonly string[]
  /** Resolves when so many more objects are healed. */
  heals(count: number): Promise<void>
  /** Runs a program to its end; returns its process id. */
  run(program: string, args: readonly string[], input?: string): Promise<number>
}

export async function onNode(t: ExecutionContext, body: (node: OnNode) => Promise<void>): Promise<void> {
  const { name, kernel, otherProgram, close } = await openNetns()
  const healed: Healed[] = []
  const removed: Healed[] = []
  const conditions = new Map<string, Condition>()
  const changes: string[] = []
  let wake = () => {}
  await setUpNode(otherProgram)
  for (const { interfaceName } of WITHOUT_IPIP.endpoints) await addLink(otherProgram, interfaceName)
  const felix = new Felix(kernel, {
    ...{ clock: systemClock, log: silentLog, marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }) },
    onConditions: changes => {
      for (const [key, condition] of changes)
        if (condition === undefined) conditions.delete(key)
        else conditions.set(key, condition)
    },
    onChange: (type, kind, cause, about) => {
      const { name, text = '' } = about()
      changes.push(`${type} ${kind} ${name} (${cause})${text === '' ? '' : `: ${text}`}`)
    },
    onRepair: ({ type, object, by, message }) => {
      if (type === 'Healed') healed.push({ name: `${object.kind} ${object.name}`, by, message })
      else removed.push({ name: `${object.kind} ${object.name}`, by, message })
      wake()
    },
  })
  try {
    felix.start()
    tell(felix, WITHOUT_IPIP)
    for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
    await felix.inSync()
    await body({
      ...{ kernel: otherProgram, felix, healed, removed, conditions, changes },
      async heals(count) {
        const until = healed.length + count
        while (healed.length < until)
          await new Promise<void>(resolve => {
            wake = resolve
          })
      },
      async run(program, args, input) {
        const child = spawnInNetns(netnsPath(name), program, args, { stdio: ['pipe', 'ignore', 'inherit'] })
        child.stdin?.end(input)
        const [code] = await once(child, 'exit')
        t.is(code, 0, `${program} ${args.join(' ')}`)
        return child.pid!
      },
    })
  } finally {
    await felix.close()
    await close()
  }
}

/** The node has IPv6 too: a pod, and a block of another node. */
export async function dualStack({ kernel, felix }: OnNode): Promise<void> {
  const { index } = (await kernel.link('eth0'))!
  await kernel.addAddress({ ifindex: index, address: 'fd01::11', length: 64, scope: 0 })
  const [a, b] = WITHOUT_IPIP.endpoints as [Endpoint, Endpoint]
  tell(felix, {
    ...{ node: { ...WITHOUT_IPIP.node, ipv6: 'fd01::11/64' } },
    pools: [...WITHOUT_IPIP.pools, { ...BARE_POOL, cidr: 'fd02::/48' }],
    learned: [...LEARNED, learned('fd02::/122', 'fd01::12')],
    endpoints: [a, { ...b, addresses: ['10.244.1.6', 'fd02::1:6'] }],
  })
  await felix.inSync()
}
