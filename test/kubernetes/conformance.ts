// docs/conformance.md: a section for each suite of tests by others and mode of kube-proxy. A run writes its own section anew and
// leaves the others.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { root } from '../../lab/lab.ts'

/** What came of one test. `why`: what a failed one said, or why one was left out. */
export type Outcome = { name: string; state: 'passed' } | { name: string; state: 'failed' | 'left out'; why: string }

/** `command`: the arguments of `npm run test:kubernetes` without those of the cluster; `what`: which tests these are. */
type Section = { title: string; command: string; what: string; outcomes: readonly Outcome[] }

const FILE = join(root, 'docs/conformance.md')
const HEADING = '# Tests of others'
const INTRODUCTION =
  'On the lab’s cluster of three nodes on two LANs: tunnels by VXLAN between the LANs, IPv4, no image pulled. Each section says the command that wrote it.'

/** Writes the section and tells its failures. True when some test ran, and none failed. */
export function writeSection(lab: KubernetesLab, section: Section): boolean {
  const { outcomes } = section
  const heading = `## ${section.title}, with kube-proxy in ${lab.proxy} mode`
  const text = [heading, '', ...linesOf(section, lab.proxy), ''].join('\n')
  const before = readFileSync(FILE, 'utf8')
    .split(/^(?=## )/m)
    .slice(1)
    .filter(each => !each.startsWith(`${heading}\n`))
  writeFileSync(FILE, [`${HEADING}\n\n${INTRODUCTION}\n\n`, ...[...before, text].sort()].join(''))
  for (const outcome of outcomes)
    if (outcome.state === 'failed')
      console.log(`not ok - ${outcome.name}\n  ${outcome.why.slice(0, 600).replaceAll('\n', '\n  ')}`)
  console.log(counts(outcomes))
  const ran = outcomes.filter(({ state }) => state !== 'left out')
  return ran.length > 0 && ran.every(({ state }) => state === 'passed')
}

function linesOf({ command, what, outcomes }: Section, proxy: string): string[] {
  const of = (state: Outcome['state']) =>
    outcomes.filter(each => each.state === state).sort((a, b) => a.name.localeCompare(b.name))
  const [failed, leftOut] = [of('failed'), of('left out')]
  const withWhy = (list: readonly Outcome[]) =>
    list.map(each => `| ${cell(each.name)} | ${each.state === 'passed' ? '' : cell(each.why.split('\n')[0] ?? '')} |`)
  const table = (title: string, column: string, list: readonly Outcome[]) =>
    list.length === 0 ? [] : ['', `### ${title}`, `| test | ${column} |`, '|---|---|', ...withWhy(list)]
  return [
    `Written by \`npm run test:kubernetes -- --proxy ${proxy} ${command}\`: ${what}.`,
    `${counts(outcomes)}.`,
    '',
    '### Passed',
    ...of('passed').map(({ name }) => `- ${name}`),
    ...table('Failed', 'said', failed),
    ...table('Left out', 'reason', leftOut),
  ]
}

function counts(outcomes: readonly Outcome[]): string {
  const count = (state: Outcome['state']) => outcomes.filter(each => each.state === state).length
  return `${count('passed')} passed, ${count('failed')} failed, ${count('left out')} left out`
}

const cell = (text: string) => text.replaceAll('|', '\\|')
