// What people do with a lab that was kept: put a fault in and look for its cause, ask margayctl, type commands on a node.
import { netnsPath, spawnInNetns } from '../kernel/netns.ts'
import { SYSTEM_PATH } from '../lib/system-program.ts'
import { type CtlCall, ctlCall, explainCall } from './ctl.ts'
import { FAULTS, faultOf } from './faults/catalogue.ts'
import { deedText, factsOf, faultsIn, putIn, takeOut } from './faults/deeds.ts'
import { type Fault, question, symptom } from './faults/fault.ts'
import { prepare, tidyUp } from './faults/traffic.ts'
import { Lab, type LabOptions } from './lab.ts'
import { LabFailure } from './lab-programs.ts'
import { namespacesOf } from './plan.ts'
import { until } from './program.ts'
import type { KeptRequest } from './request.ts'
import { table } from './show.ts'

const WELL_MS = 40_000

/** Resolves with the exit code. Throws LabFailure when there is no such lab, or what was asked for is not there. */
export async function runMenu(
  request: KeptRequest,
  options: Pick<LabOptions, 'dir' | 'patience' | 'say'>,
): Promise<number> {
  await using lab = Lab.kept(options)
  if (request.menu === 'ctl') return await run(ctlCall(lab, request.words, request.node))
  if (request.menu === 'explain') return await run(explainCall(lab, request.words))
  if (request.menu === 'shell') return await runShell(lab, request.at, request.words)
  if (request.menu === 'heal') return await heal(lab, request.name, options.say)
  const { name, tell } = request
  process.stdout.write(name === undefined ? `${faultTable(lab, tell)}\n` : await letFind(lab, named(name), tell))
  return 0
}

function named(word: string): Fault {
  const fault = faultOf(word)
  if (fault === undefined) throw new LabFailure(`there is no fault ${word}: npm run lab -- fault lists them`)
  return fault
}

function faultTable(lab: Lab, tell: boolean): string {
  const inNow = new Set(faultsIn(lab).map(({ name }) => name))
  const state = ({ name }: Fault) => (inNow.has(name) ? 'in' : '')
  if (!tell)
    return table(
      ['FAULT', 'NOW', 'WHAT PEOPLE SEE'],
      FAULTS.map(each => [each.number, state(each), symptom(each)]),
    )
  return table(
    ['FAULT', 'NOW', 'NAME', 'CAUSE', 'REMEDY'],
    FAULTS.map(each => [each.number, state(each), each.name, each.cause, each.remedy]),
  )
}

/** Puts the fault in unless it is, and gives what to tell. */
async function letFind(lab: Lab, fault: Fault, tell: boolean): Promise<string> {
  const { breaks, cause, remedy } = fault
  const told = tell ? [`cause   ${cause}`, `remedy  ${remedy}`] : []
  if (faultsIn(lab).some(({ name }) => name === fault.name))
    return `${[`It is in: ${symptom(fault)}.`, ...told].join('\n')}\n`
  await prepare(lab, breaks)
  const deeds = await putIn(lab, fault, await factsOf(lab))
  const lines = [`It is in: ${symptom(fault)}. If that is over already, it was put right by itself: who can tell?`]
  if (tell) lines.push(...told, 'done', ...deeds.map(deed => `  ${deedText(deed)}`))
  lines.push('', 'To look for the cause:', ...hints(lab, fault).map(hint => `  npm run lab -- ${hint}`))
  lines.push('', 'To be told it:', `  npm run lab -- fault ${fault.number} --tell`)
  lines.push('', 'To take it out again:', '  npm run lab -- fault heal')
  return `${lines.join('\n')}\n`
}

function hints(lab: Lab, { breaks }: Fault): string[] {
  const asked = `explain ${question(breaks).join(' ')}`
  if ('newPodOn' in breaks) return [`ctl ${breaks.newPodOn} node status`, 'ctl get nodes,ippools', asked]
  const at = (name: string) => lab.pods.find(({ pod }) => pod.name === name)!
  const [from, to] = [at(breaks.from), at(breaks.to)]
  const tried =
    'port' in breaks
      ? `shell ${breaks.from} bash -c 'cat </dev/tcp/${to.address}/${breaks.port}'`
      : `shell ${breaks.from} ping -c 3 ${'octets' in breaks ? `-s ${breaks.octets} ` : ''}${to.address}`
  const nodes = [...new Set([from.node.name, to.node.name])]
  return [
    tried,
    ...nodes.flatMap(node => [`ctl ${node} node status`, `ctl ${node} events`]),
    `shell ${from.node.name} ip route get ${to.address}`,
    asked,
  ]
}

async function heal(lab: Lab, name: string | undefined, say: (text: string) => void): Promise<number> {
  const out = await takeOut(lab, name === undefined ? undefined : named(name).name)
  if (out.length === 0) {
    say(name === undefined ? 'no fault is in' : `${name} is not in`)
    return 0
  }
  for (const each of out) await tidyUp(lab, faultOf(each)!.breaks)
  say(`taken out: ${out.join(', ')}`)
  const well = await until(async () => (await lab.pingPairs()).every(({ ms }) => ms !== undefined), WELL_MS)
  say(well ? 'every pair answers' : 'not every pair answers again')
  return well ? 0 : 1
}

function run({ netns, argv: [program, ...args] }: CtlCall): Promise<number> {
  return inNetns(netns, program, args)
}

function runShell(lab: Lab, at: string, words: readonly string[]): Promise<number> {
  const netns = lab.plan.prefix + at
  const all = namespacesOf(lab.plan)
  if (!all.includes(netns))
    throw new LabFailure(`there is no ${at}: ${all.map(name => name.slice(lab.plan.prefix.length)).join(', ')}`)
  const [program = 'bash', ...args] = words.length === 0 ? ['bash', '--norc'] : words
  return inNetns(netns, program, args, { PATH: SYSTEM_PATH, PS1: `${at} \\w\\$ ` })
}

function inNetns(
  netns: string,
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<number> {
  const child = spawnInNetns(netnsPath(netns), program, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  process.on('SIGINT', () => {}) // a terminal gives Ctrl-C to the child as well, and it is that which is meant
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', code => resolve(code ?? 1))
  })
}
