// `npm run lab`: a routed pod network of several nodes on this machine, shown to work. Progress goes to stderr, the
// answer (tables, or JSON) to stdout.
import { spawnSync } from 'node:child_process'
import { systemProgram } from '../lib/system-program.ts'
import { isIsolated, isolationProblem, labDir, mayMakeNamespaces, runIsolated } from './isolate.ts'
import { kubernetesProblem } from './kubernetes/binaries.ts'
import { demonstrateKubernetes } from './kubernetes/demonstrate.ts'
import { KUBERNETES_DIR, removeKubernetesLab } from './kubernetes/folder.ts'
import { Lab, root } from './lab.ts'
import { LabFailure } from './lab-programs.ts'
import { runMenu } from './menu.ts'
import { PluginRefused } from './pods.ts'
import { enterKept, findLab, removeLab } from './remains.ts'
import { type KeptRequest, type LabRequest, parseRequest, WrongUsage } from './request.ts'
import { keepHints, pairTable, peerTable } from './show.ts'
import { buildForVm, missingForVm, runInVm } from './vm.ts'

const HELP = `Usage: npm run lab [-- [down] [--keep] [--json] [--nodes A,B] [--vm | --kubernetes [--proxy MODE]]]
       npm run lab -- fault [NAME] [--tell] | fault heal [NAME]
       npm run lab -- explain A B [PROTO/PORT] | ctl [NODE] COMMAND... | shell WHERE [COMMAND...]

Makes a network of nodes on this machine, in network namespaces of its own: n1 and n2 on LAN A, n3 on LAN B, a router
between them, an API server behind it. Starts an agent per node, adds two pods per node by executing the CNI plugin,
pings every pair of pods, shows the result, and removes everything again.

  --keep        leave the lab running and say how to look at it
  down          remove a lab that was kept, or what a crash left behind
  --nodes A,B   how many nodes on LAN A and on LAN B (default 2,1)
  --json        the answer as JSON on stdout
  --vm          run it on Debian's own kernel in a virtual machine, which has IP-in-IP (needs qemu; slower)
  --kubernetes  a real Kubernetes with Margay as its network (needs root, and its programs in the folder K8S_BIN)
  --proxy MODE  how its kube-proxy works: nftables (default) or iptables
  --help        this text

On the lab that was kept:
  fault         the faults that it can have, by what people see of them; --tell: with causes and remedies
  fault NAME    puts one in and says where to look; --tell: and what was done. NAME is its number or its name
  fault heal    takes all faults out, or the one that is named
  explain A B   why A cannot reach B: n1-p1 n2-p1, n1-p1 n2-p1 tcp/8080, or one node;
                --probe sends the packet and follows it
  ctl COMMAND   margayctl in this cluster; ctl n1 COMMAND asks the agent of n1
  shell WHERE   a shell on a node, a pod (n1-p1), the router or the api server, or one command there

Exit codes: 0 every pair answered, 1 one did not, 2 wrong usage, 3 something that is needed is missing.
`

const PREFIX = 'margay-'
const EXIT = { fine: 0, no: 1, usage: 2, unreachable: 3, interrupted: 130 } as const

/** Time limits are multiplied by this: the virtual machine sets it above 1. */
const patience = Number(process.env['MARGAY_LAB_PATIENCE'] ?? 1)
const VM_PATIENCE = 10
const VM_LIMIT_SECONDS = 400

const started = performance.now()
function say(text: string): void {
  process.stderr.write(`lab ${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s  ${text}\n`)
}

async function runLab({ keep, json, nodes }: LabRequest): Promise<number> {
  const dir = labDir()
  const found = findLab(dir)
  if (found?.status === 'running') {
    say(`another lab is running (pid ${found.state.owner.pid}); stop it with Ctrl-C or: kill ${found.state.owner.pid}`)
    return EXIT.no
  }
  if (found?.status === 'kept') {
    say('a lab that was kept is still running; remove it first: npm run lab -- down')
    return EXIT.no
  }
  await using lab = new Lab({ prefix: PREFIX, dir, nodes, patience, say })
  onSignals(lab)
  await lab.start()
  say('waiting for routes')
  try {
    await Promise.all([lab.routesKnown(), lab.reportPods()])
  } catch (error) {
    if (!(error instanceof LabFailure)) throw error
    say(error.message) // the table shows which pairs it costs
  }
  say('pinging every pair')
  const pairs = await lab.pingPairs()
  const peers = await lab.peers()
  const lost = pairs.filter(({ ms }) => ms === undefined)
  if (json) process.stdout.write(`${JSON.stringify({ ok: lost.length === 0, pairs, peers }, null, 2)}\n`)
  else process.stdout.write(`\n${pairTable(pairs)}\n\n${peerTable(peers)}\n\n`)
  say(`${pairs.length - lost.length} of ${pairs.length} pairs answered`)
  if (keep) {
    lab.keep()
    const inside = isIsolated() ? `nsenter -t ${lab.apiPid} -U --preserve-credentials -m -- ` : ''
    process.stderr.write(`\nThe lab stays until you remove it. To look at it:\n${keepHints(lab, inside)}\n`)
  } else say('removing everything')
  return lost.length === 0 ? EXIT.fine : EXIT.no
}

/** On SIGINT, SIGTERM and SIGHUP: removes everything, then exits. A second signal is ignored. */
function onSignals(lab: { stop(): Promise<void> }): void {
  let stopping = false
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, async () => {
      if (stopping) return
      stopping = true
      say('interrupted: removing everything')
      await lab.stop()
      process.exit(EXIT.interrupted)
    })
}

async function runKubernetes({ keep, json, nodes, proxy }: LabRequest): Promise<number> {
  if (mayMakeNamespaces()) installFor('kubernetes')
  const problem = kubernetesProblem()
  if (problem !== undefined) {
    say(problem)
    return EXIT.unreachable
  }
  const found = findLab(KUBERNETES_DIR)
  if (found?.status === 'running' || found?.status === 'kept') {
    const what = found.status === 'kept' ? 'one that was kept' : `one of process ${found.state.owner.pid}`
    say(`a Kubernetes of the lab is running, ${what}; remove it first: npm run lab -- down`)
    return EXIT.no
  }
  const ok = await demonstrateKubernetes({ nodes, proxy, keep, json, patience, say, onLab: onSignals })
  return ok ? EXIT.fine : EXIT.no
}

/** Installs what a part of the lab needs of the machine, where that is possible; what stays missing is told by the caller. */
function installFor(group: 'vm' | 'kubernetes' | 'faults'): void {
  spawnSync(systemProgram('sh'), ['lab/setup.sh', group], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
}

async function runVm(args: readonly string[]): Promise<number> {
  installFor('vm')
  const missing = missingForVm()
  if (missing.length > 0) {
    say('the virtual machine needs what is not here; on Debian, as root:')
    say(`  apt-get install --no-install-recommends ${missing.join(' ')}`)
    return EXIT.unreachable
  }
  say('starting a virtual machine with the kernel of Debian (software emulation: this takes a minute)')
  const interrupt = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupt.abort())
  const { program, env } = await buildForVm('lab/main')
  const code = await runInVm([process.execPath, program, ...args.filter(arg => arg !== '--vm')], {
    cwd: root,
    limitSeconds: VM_LIMIT_SECONDS,
    env: { ...env, MARGAY_LAB_PATIENCE: String(VM_PATIENCE) },
    signal: interrupt.signal,
    stdout: text => process.stdout.write(text),
    stderr: text => process.stderr.write(text),
  })
  return interrupt.signal.aborted ? EXIT.interrupted : code
}

async function onKept(request: KeptRequest): Promise<number> {
  if (request.menu === 'fault' && request.name !== undefined) installFor('faults')
  return (await enterKept()) ?? (await runMenu(request, { dir: labDir(), patience, say }))
}

async function main(args: readonly string[]): Promise<number> {
  const request = parseRequest(args)
  if (request === 'help') {
    process.stdout.write(HELP)
    return EXIT.fine
  }
  if (request === 'down') {
    const removed = [await removeLab(labDir(), PREFIX), mayMakeNamespaces() && (await removeKubernetesLab())]
    say(removed.includes(true) ? 'removed' : 'there is no lab')
    return EXIT.fine
  }
  if ('menu' in request) return onKept(request)
  if (request.vm) return runVm(args)
  if (request.kubernetes) return runKubernetes(request)
  if (mayMakeNamespaces()) return runLab(request)
  const problem = isolationProblem()
  if (problem === undefined) return runIsolated()
  say(problem)
  return EXIT.unreachable
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof WrongUsage) process.stderr.write(`${error.message}\n\n${HELP}`)
  else
    say(
      `failed: ${error instanceof LabFailure || error instanceof PluginRefused ? error.message : (error as Error).stack}`,
    )
  process.exitCode = error instanceof WrongUsage ? EXIT.usage : EXIT.unreachable
}
