// Formats the lab's results as tables, and the hints of a kept lab.
import { netnsPath } from '../kernel/netns.ts'
import type { PeerRow } from './ask.ts'
import { type Lab, root } from './lab.ts'
import type { PairRow } from './measure.ts'

/** Columns padded to their widest cell; the last one is left as it is. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]!.length)))
  return [header, ...rows]
    .map(row =>
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export function pairTable(rows: readonly PairRow[]): string {
  return table(
    ['FROM', 'TO', 'PATH', 'MS'],
    rows.map(({ from, to, path, ms, error }) => [
      from,
      to,
      path,
      ms === undefined ? `no answer: ${error}` : String(ms),
    ]),
  )
}

export function peerTable(rows: readonly PeerRow[]): string {
  return table(
    ['NODE', 'PEER', 'TYPE', 'STATE', 'SINCE', 'REASON'],
    rows.map(({ node, address, type, state, since, reason }) => [node, address, type, state, since, reason]),
  )
}

/** What to type to look around in a lab that was kept. `inside` comes before a command to enter a user namespace. */
export function keepHints(lab: Lab, inside: string): string {
  const enter = (netns: string) => `${inside}nsenter --net=${netnsPath(netns)}`
  const node = lab.plan.nodes[0]!
  const [from, to] = [lab.pods[0]!, lab.pods.at(-1)!]
  const ctl = `${process.execPath} ${root}ctl/main.ts`
  const lines: [string, string][] = [
    [`routes of ${node.name}`, `${enter(node.netns)} ip route`],
    ['inside of a pod', `${enter(from.pod.netns)} ping -c 3 ${to.address}`],
    [`a shell on ${node.name}`, `${enter(node.netns)} sh`],
    ['the cluster', `${enter(lab.plan.api.netns)} kubectl --kubeconfig ${lab.kubeconfig} get nodes,pods,ippools`],
    ['what an agent says', `${ctl} node status --socket ${lab.agentSocket(node.name)}`],
    [
      'how full the pool is',
      `${enter(lab.plan.api.netns)} ${ctl} --kubeconfig ${lab.kubeconfig} ipam show --show-blocks`,
    ],
    ['log of the agent', `tail -f ${lab.nodeDir(node.name)}/agent.log`],
    ['start an agent that you killed', `${inside}sh ${lab.nodeDir(node.name)}/agent.sh`],
    ['a fault to look for, and margayctl and shells more easily', 'npm run lab -- --help'],
    ['remove the lab', 'npm run lab -- down'],
  ]
  return lines.map(([what, command]) => `  # ${what}\n  ${command}`).join('\n')
}
