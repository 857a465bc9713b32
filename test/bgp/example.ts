// The examples of bgp/README.md, run as they stand against speakers of this process on the loopback.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { ExecutionContext } from 'ava'
import { Speaker } from '../../bgp/speaker.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { until } from './interop.ts'

const README = new URL('../../bgp/README.md', import.meta.url)

const examples = [...readFileSync(README, 'utf8').matchAll(/```ts\n(.*?)```/gs)].map(([, lines]) => lines!)

/** The lines of the first example. */
export const example: string = examples[0] ?? ''

/** Runs it in `cwd`, where `margay/bgp` is found: it peers, prints what the router announces, and announces a prefix. */
export async function assertExampleRuns(t: ExecutionContext, cwd: string, flags: readonly string[]): Promise<void> {
  const router = new Speaker({ asn: 65002, routerId: '192.0.2.2' }, { transport: new TcpTransport() })
  const { port } = await router.listen({ address: '127.0.0.2', port: 0 })
  router.setPeer({ address: '127.0.0.1', passive: true, asn: 65001, import: 'accept', export: 'accept' })
  // no route is taken with a next hop on the loopback, which is where this test lives
  router.announce({ prefix: '198.51.100.0/24', nextHop: '192.0.2.2' })
  const child = run(example, { cwd, flags, env: { ROUTER: '127.0.0.2', ROUTER_PORT: `${port}` } })
  try {
    await until(
      'an UPDATE and an End-of-RIB from the example, and our route printed by it',
      () =>
        (router.peers()[0]?.messages.updatesIn ?? 0) >= 2 && child.printed().includes('198.51.100.0/24 via 192.0.2.2'),
      child.printed,
    )
    t.regex(child.printed(), /Established/)
  } finally {
    child.signal('SIGKILL')
    await router.close()
  }
}

/** Runs the example of several paths: it shares a network between two routers, takes no other one, and leaves one of them when told to. */
export async function assertPathsExampleRuns(
  t: ExecutionContext,
  cwd: string,
  flags: readonly string[],
): Promise<void> {
  const addresses = ['127.0.0.2', '127.0.0.3']
  const nextHops = ['192.0.2.2', '192.0.2.3']
  const routers = nextHops.map(
    (routerId, i) => new Speaker({ asn: 65002 + i, routerId }, { transport: new TcpTransport() }),
  )
  let port = 0
  for (const [i, router] of routers.entries()) {
    port = (await router.listen({ address: addresses[i]!, port })).port
    router.setPeer({ address: '127.0.0.1', passive: true, asn: 65001, import: 'accept', export: 'accept' })
    for (const prefix of ['198.51.100.0/24', '203.0.113.0/24']) router.announce({ prefix, nextHop: nextHops[i]! })
  }
  const lines = examples.find(text => text.includes('multipath')) ?? ''
  const env = { ROUTERS: addresses.join(' '), ROUTER_PORT: `${port}`, NEXT_HOP: nextHops[1]! }
  const child = run(lines, { cwd, flags, env })
  const last = () => child.printed().trimEnd().split('\n').at(-1) ?? ''
  try {
    await until('both are used', () => /^198\.51\.100\.0\/24 via \S+ and \S+$/.test(last()), child.printed)
    t.deepEqual(
      last()
        .match(/192\.0\.2\.\d/g)
        ?.sort(),
      nextHops,
    )
    child.signal('SIGUSR2')
    await until('the one that is left is used', () => last() === '198.51.100.0/24 via 192.0.2.2', child.printed)
    t.notRegex(child.printed(), /203\.0\.113/)
  } finally {
    child.signal('SIGKILL')
    for (const router of routers) await router.close()
  }
}

function run(lines: string, { cwd, flags, env }: { cwd: string; flags: readonly string[]; env: NodeJS.ProcessEnv }) {
  const child = spawn(process.execPath, [...flags, '--input-type=module-typescript'], {
    cwd,
    env: { ...process.env, ...env },
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text
    })
  child.stdin.end(lines)
  return { printed: () => printed, signal: (name: NodeJS.Signals) => child.kill(name) }
}
