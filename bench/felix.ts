// What one event costs felix in a large cluster: from what is told to the differences for the kernel. Medians, in ms.
import { Calculator } from '../felix/calc/calculator.ts'
import type { Endpoint, InputKind, Inputs, LearnedRoute, RemoteNode, Settings } from '../felix/input.ts'
import type { Row } from './row.ts'

/** What is told of the cluster, and takes the time to be worked out. */
type Told = {
  set<K extends InputKind>(kind: K, key: string, value: Inputs[K] | undefined): unknown
  configure(part: Partial<Settings>): unknown
}

const ROUNDS = 200

export async function benchFelix(): Promise<Row[]> {
  const unit = 'ms'
  const rows: Row[] = []
  for (const count of [1_000, 100_000]) {
    const calculator = started()
    tellRoutes(calculator, count)
    const startMs = performance.now()
    calculator.step()
    rows.push({ name: `felix: ${count} learned routes, from nothing`, value: performance.now() - startMs, unit })
    const value = median(n => {
      calculator.set('learned', prefixOf(n), { ...learned(n), nextHop: remote((n + 1) % 250).address })
      calculator.step()
    })
    rows.push({ name: `felix: one learned route changes, of ${count}`, value, unit })
  }
  const calculator = started()
  tellNodes(calculator, 5_000)
  calculator.step()
  const event = (name: string, run: (n: number) => void) =>
    rows.push({
      name: `felix: ${name}, 5,000 VTEPs`,
      value: median(n => {
        run(n)
        calculator.step()
      }),
      unit,
    })
  event('heartbeat of a node', n => calculator.set('remote', remote(n).name, remote(n)))
  event('another VTEP of a node', n =>
    calculator.set('remote', remote(n).name, { ...remote(n), vxlanTunnelAddress: `10.250.0.${n}` }),
  )
  event('a pod is added', n => calculator.set('endpoint', `pod${n}`, endpoint(n)))
  return rows
}

function started(): Calculator {
  const calculator = new Calculator({ routeProtocol: 80, podFilter: { table: 'margay', interfacePrefix: 'cali' } })
  calculator.configure({
    node: { name: 'node', ipv4: '192.168.0.1/16', uplink: 'eth0', vxlanTunnelAddress: '10.255.0.1' },
    capabilities: { ipip: true, vxlan: true },
  })
  calculator.set('pool', 'pods', { cidr: '10.0.0.0/8', ipip: 'Never', vxlan: 'Always', isExchanged: true })
  calculator.useLearned()
  return calculator
}

/** 250 nodes share the routes. */
function tellRoutes(told: Told, count: number): void {
  tellNodes(told, 250)
  for (let i = 0; i < count; i++) told.set('learned', prefixOf(i), learned(i))
}

function tellNodes(told: Told, count: number): void {
  for (let i = 0; i < count; i++) told.set('remote', remote(i).name, remote(i))
}

function prefixOf(i: number): string {
  return `10.${64 + (i >> 14)}.${(i >> 6) & 255}.${(i & 63) * 4}/30`
}

function learned(i: number): LearnedRoute {
  return { prefix: prefixOf(i), nextHop: remote(i % 250).address, encapsulations: [] }
}

function remote(i: number): RemoteNode & { address: string } {
  const low = `${i >> 8}.${i & 255}`
  return { name: `node-${i}`, address: `192.168.${low}`, vxlanTunnelAddress: `10.254.${low}` }
}

function endpoint(i: number): Endpoint {
  const mac = `02:00:00:00:00:${(i & 255).toString(16).padStart(2, '0')}`
  const addresses = [`10.1.0.${i & 255}`]
  return { id: `pod${i}`, interfaceName: `cali${i}`, ifname: 'eth0', netns: '', addresses, mac, mtu: 1450 }
}

/** Runs `event` many times with the numbers from 0, and returns the median of its time in ms. */
function median(event: (n: number) => void): number {
  const times = Array.from({ length: ROUNDS }, (_, n) => {
    const startMs = performance.now()
    event(n)
    return performance.now() - startMs
  })
  return times.toSorted((a, b) => a - b)[ROUNDS >> 1]!
}
