// Routes applied per second: our batches, and a whole reconciliation, beside `ip -batch`, each in a namespace of its
// own that is made for it. Needs root.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openKernel } from '../kernel/linux/kernel.ts'
import { addNetns, netnsPath, removeNetns } from '../kernel/netns.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route } from '../kernel/port/routes.ts'
import { LinkView } from '../kernel/reconcile/link-view.ts'
import { Ownership } from '../kernel/reconcile/ownership.ts'
import { namedRoute } from '../kernel/reconcile/route-writes.ts'
import { RouteTable } from '../kernel/reconcile/routes.ts'
import { systemProgram } from '../lib/system-program.ts'
import type { Row } from './row.ts'

const COUNT = 10_000
const ROUNDS = 5

type Run = (kernel: Kernel, ifindex: number, netns: string) => Promise<number>

/** Applies 10,000 routes in each way, five times in turn; the best time of each, so that a busy machine disturbs least. */
export async function benchRoutes(): Promise<Row[]> {
  const best = new Map<Run, number>()
  for (let round = 0; round < ROUNDS; round++)
    for (const run of [batched, reconciled, read, ipBatch])
      best.set(run, Math.min(best.get(run) ?? Number.POSITIVE_INFINITY, await once(run)))
  const perSecond = (run: Run) => Math.round(COUNT / (best.get(run)! / 1000))
  const unit = 'routes/s'
  const peer = { peer: 'ip -batch', peerValue: perSecond(ipBatch) }
  return [
    { name: 'routes applied in batches', value: perSecond(batched), unit, ...peer },
    { name: 'routes wanted, reconciled and applied', value: perSecond(reconciled), unit, ...peer },
    { name: 'routes read', value: perSecond(read), unit },
  ]
}

/** The time of one run in ms, in a fresh namespace with a veth pair that is up. */
async function once(run: Run): Promise<number> {
  using host = openKernel()
  const name = `margay-bench-${process.pid}`
  addNetns(name)
  try {
    using kernel = host.inside(netnsPath(name))
    const { index } = await kernel.createLink({ kind: 'veth', name: 'a', peer: { name: 'b' } })
    for (const end of ['a', 'b']) await kernel.setLink(end, { up: true })
    await kernel.addAddress({ ifindex: index, address: '192.0.2.1', length: 24, scope: 0 })
    return await run(kernel, index, name)
  } finally {
    removeNetns(name)
  }
}

async function batched(kernel: Kernel, ifindex: number): Promise<number> {
  const changes = routes(ifindex).map(route => ({ verb: 'replace', route }) as const)
  return timed(async () => {
    const refusal = (await kernel.changeRoutes(changes)).find(answer => answer !== undefined)
    if (refusal !== undefined) throw refusal
  })
}

async function reconciled(kernel: Kernel, ifindex: number): Promise<number> {
  const ownership = new Ownership({ table: ROUTE_TABLE.main, protocol: ROUTE_PROTOCOL.margayBgp })
  const links = new LinkView(kernel)
  const table = new RouteTable(kernel, links, ownership, { confirm: false })
  const interfaceName = (await kernel.link(ifindex))?.name
  const wanted = routes(ifindex).map(route => namedRoute(route, () => interfaceName))
  return timed(async () => {
    for (const route of wanted) table.want(route.dst, route)
    await links.refresh()
    await table.apply(() => true)
  })
}

async function read(kernel: Kernel, ifindex: number): Promise<number> {
  await kernel.changeRoutes(routes(ifindex).map(route => ({ verb: 'replace', route })))
  return timed(() => kernel.routes({ table: ROUTE_TABLE.main, family: 'ipv4' }))
}

function routes(ifindex: number): Route[] {
  const common = { table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.margayBgp, ifindex } as const
  return Array.from({ length: COUNT }, (_, i) => ({
    ...common,
    dst: `10.${i >> 8}.${i & 255}.0/26`,
    gateway: '192.0.2.2',
    scope: ROUTE_SCOPE.universe,
  }))
}

async function ipBatch(_kernel: Kernel, _ifindex: number, netns: string): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-bench-'))
  try {
    const file = join(folder, 'routes')
    const lines = routes(0).map(
      ({ dst, gateway }) => `route replace ${dst} via ${gateway} dev a proto ${ROUTE_PROTOCOL.margayBgp}`,
    )
    writeFileSync(file, `${lines.join('\n')}\n`)
    return await timed(() => promisify(execFile)(systemProgram('ip'), ['-n', netns, '-batch', file]))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await act()
  return performance.now() - start
}
