// `npm run soak`: pods come and go while agents, controllers and the API server are killed, and the first packet of each
// is counted. Progress goes to stderr, the table to stdout.
import { parseArgs } from 'node:util'
import { isolationProblem, labDir, mayMakeNamespaces, runIsolated } from '../../lab/isolate.ts'
import { kubernetesProblem } from '../../lab/kubernetes/binaries.ts'
import { KUBERNETES_DIR } from '../../lab/kubernetes/folder.ts'
import { findLab } from '../../lab/remains.ts'
import { KubernetesWorld } from './kubernetes.ts'
import { LabWorld } from './lab.ts'
import { soak } from './soak.ts'
import { isFine, outcomeTable } from './table.ts'
import { VICTIMS, type Victim, type World } from './world.ts'

const HELP = `Usage: npm run soak [-- [--starts N] [--minutes M] [--seed S] [--kill WHAT,...] [--where WHERE]]

Starts pods on the nodes of a cluster and ends them at random. The first instruction of each pod sends an IPv4 and an IPv6
datagram to a pod on another node, to one on its own node, to a Service and to a host outside, and repeats none. Meanwhile
programs are killed with SIGKILL and started again. At the end everything that pods had must be gone.

  --starts N     how many pods are started (default 1000)
  --minutes M    no pod is started after so many minutes (default 60)
  --seed S       which pods, where and what, as in the run that printed S (default: another one each time)
  --kill WHAT    what is killed: any of ${VICTIMS.join(', ')}, or none (default: all of them)
  --where WHERE  lab: nodes in network namespaces (default); kubernetes: with kubelet and containerd, which needs root and its
                 programs in the folder K8S_BIN
  --help         this text

Exit codes: 0 nothing lost, held twice, left or told wrongly, 1 something was, 2 wrong usage, 3 something that is needed is missing.
`

const EXIT = { fine: 0, no: 1, usage: 2, missing: 3, interrupted: 130 } as const
const MOST_SEED = 2 ** 32
/** Pods that are started or ended at a time: a kubelet waits between its steps, which leaves time for other pods. */
const AT_ONCE = { lab: 6, kubernetes: 12 } as const
const LIVE = 40
/** The mean pause between two kills of one kind: kubelets, and an API server on busy cores, take half a minute to be back. */
const KILL_SECONDS = { lab: 10, kubernetes: 90 } as const
type Where = keyof typeof KILL_SECONDS

class WrongUsage extends Error {
  override readonly name = 'WrongUsage'
}

type Request = { starts: number; minutes: number; seed: number; kill: Victim[]; where: Where }

const started = performance.now()
function say(text: string): void {
  process.stderr.write(`soak ${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s  ${text}\n`)
}

function parseRequest(args: readonly string[]): Request | 'help' {
  let values: ReturnType<typeof parse>
  try {
    values = parse(args)
  } catch (error) {
    throw new WrongUsage((error as Error).message)
  }
  if (values.help) return 'help'
  const number = (name: 'starts' | 'minutes' | 'seed', text: string, most: number): number => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value <= most) return value
    throw new WrongUsage(`--${name} ${text}: give a number up to ${most}`)
  }
  const kill = values.kill === 'none' ? [] : values.kill.split(',')
  const wrong = kill.find(each => !VICTIMS.some(victim => victim === each))
  if (wrong !== undefined) throw new WrongUsage(`--kill ${wrong}: give some of ${VICTIMS.join(', ')}, or none`)
  const { where } = values
  if (where !== 'lab' && where !== 'kubernetes') throw new WrongUsage(`--where ${where}: give lab or kubernetes`)
  return {
    starts: number('starts', values.starts, 1_000_000),
    minutes: number('minutes', values.minutes, 10_000),
    seed:
      values.seed === undefined ? Math.floor(Math.random() * MOST_SEED) : number('seed', values.seed, MOST_SEED - 1),
    kill: kill as Victim[],
    where,
  }
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    options: {
      starts: { type: 'string', default: '1000' },
      minutes: { type: 'string', default: '60' },
      seed: { type: 'string' },
      kill: { type: 'string', default: VICTIMS.join(',') },
      where: { type: 'string', default: 'lab' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  }).values
}

async function run({ starts, minutes, seed, kill, where }: Request): Promise<number> {
  say(`seed ${seed}`)
  await using world: World =
    where === 'kubernetes'
      ? await KubernetesWorld.make({ say })
      : await LabWorld.make({ prefix: 'margay-', dir: labDir(), nodes: [2, 2], patience: 2, say })
  onSignals(world)
  const outcome = await soak(world, {
    ...{ starts, mostSeconds: minutes * 60, kill, random: randomFrom(seed), say },
    ...{ atOnce: AT_ONCE[where], live: LIVE, killSeconds: KILL_SECONDS[where], restartAtEnd: false },
  })
  process.stdout.write(`${outcomeTable(outcome, { about: world.about, seed })}\n`)
  return isFine(outcome) ? EXIT.fine : EXIT.no
}

/** Numbers in [0, 1) from a seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / MOST_SEED
  }
}

function onSignals(world: World): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, async () => {
      say('interrupted: removing everything')
      await world[Symbol.asyncDispose]()
      process.exit(EXIT.interrupted)
    })
}

async function main(): Promise<number> {
  const request = parseRequest(process.argv.slice(2))
  if (request === 'help') {
    process.stdout.write(HELP)
    return EXIT.fine
  }
  const missing = request.where === 'kubernetes' ? kubernetesProblem() : undefined
  if (missing !== undefined) {
    say(missing)
    return EXIT.missing
  }
  const running = findLab(request.where === 'kubernetes' ? KUBERNETES_DIR : labDir())
  if (running !== undefined && running.status !== 'crashed') {
    say('another lab is running; remove it first: npm run lab -- down')
    return EXIT.missing
  }
  if (mayMakeNamespaces()) return await run(request)
  const problem = isolationProblem()
  if (problem === undefined) return await runIsolated()
  say(problem)
  return EXIT.missing
}

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof WrongUsage)) throw error
  process.stderr.write(`${error.message}\n${HELP}`)
  process.exitCode = EXIT.usage
}
