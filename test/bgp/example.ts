// The example of bgp/README.md, run as it stands against a speaker of this process on the loopback.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { ExecutionContext } from 'ava'
import { Speaker } from '../../bgp/speaker.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { until } from './interop.ts'

const README = new URL('../../bgp/README.md', import.meta.url)

/** The lines of the example. */
export const example: string = /```ts\n(.*?)```/s.exec(readFileSync(README, 'utf8'))?.[1] ?? ''

/** Runs it in `cwd`, where `margay/bgp` is found: it peers, prints what the router announces, and announces a prefix. */
export async function assertExampleRuns(t: ExecutionContext, cwd: string, flags: readonly string[]): Promise<void> {
  const router = new Speaker({ asn: 65002, routerId: '192.0.2.2' }, { transport: new TcpTransport() })
  const { port } = await router.listen({ address: '127.0.0.2', port: 0 })
  router.setPeer({ address: '127.0.0.1', passive: true, asn: 65001, import: 'accept', export: 'accept' })
  // no route is taken with a next hop on the loopback, which is where this test lives
  router.announce({ prefix: '198.51.100.0/24', nextHop: '192.0.2.2' })
  const child = spawn(process.execPath, [...flags, '--input-type=module-typescript'], {
    cwd,
    env: { ...process.env, ROUTER: '127.0.0.2', ROUTER_PORT: `${port}` },
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text
    })
  child.stdin.end(example)
  try {
    await until(
      'an UPDATE and an End-of-RIB from the example, and our route printed by it',
      () => (router.peers()[0]?.messages.updatesIn ?? 0) >= 2 && printed.includes('198.51.100.0/24 via 192.0.2.2'),
      () => printed,
    )
    t.regex(printed, /Established/)
  } finally {
    child.kill('SIGKILL')
    await router.close()
  }
}
