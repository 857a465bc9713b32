// One node as a machine of its own on this one: a process namespace, a mount namespace and the node's network namespace.
// Its file system is this machine's with a layer of its own over /etc, /opt and /var/lib, so what nodes write to the usual
// paths never meets, and its /run is empty after every start, as after a boot. When its first process ends, the kernel
// ends all others and the mounts with them: nothing has to be looked for. Hazard: the boot ID stays the machine's, since each
// container mounts a /proc of its own: one that is covered on the node alone would differ between the agent and the plugin.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemProgram } from '../../lib/system-program.ts'
import {
  type Finished,
  type KeptProgram,
  keptProgram,
  type Program,
  readStartTicks,
  runProgram,
  startProgram,
  stopAll,
  until,
  writtenDown,
} from '../program.ts'
import { binaryPath } from './binaries.ts'

export type MachineOptions = {
  name: string
  netns: string
  /** Holds the node's layers, its log files and what it keeps over a reboot. */
  dir: string
  /** What every node sees at /mnt. */
  shared: string
  /** Told of every process that must end with the lab, before it is used. */
  started: (program: Program) => void
}

/** A running machine, for a file: what `resume` needs. */
export type KeptMachine = { init: number; holder: KeptProgram; programs: Readonly<Record<string, KeptProgram>> }

/** Folders of this machine that the node sees through a layer of its own. */
const LAYERS = ['etc', 'opt', 'var/lib'] as const
/** Folders that are the node's alone: containerd's own layers cannot lie upon a layer, and networks of this machine are none of a node. */
const FOLDERS = ['var/lib/containerd', 'var/lib/kubelet', 'var/log', 'etc/cni'] as const

export class Machine {
  readonly name: string
  readonly dir: string
  readonly #options: MachineOptions
  readonly #programs = new Map<string, Program>()
  #holder: Program | undefined
  /** The node's first process, as this machine counts. */
  #init = 0

  constructor(options: MachineOptions) {
    this.#options = options
    this.name = options.name
    this.dir = options.dir
    for (const folder of LAYERS) mkdirSync(this.layer(folder), { recursive: true })
    for (const folder of FOLDERS) mkdirSync(join(this.dir, 'own', folder), { recursive: true })
    mkdirSync(join(this.dir, 'log'), { recursive: true })
    const id = join(this.layer('etc'), 'machine-id')
    if (!existsSync(id)) writeFileSync(id, `${randomBytes(16).toString('hex')}\n`)
  }

  /** The running machine as a value. */
  written(): KeptMachine {
    const programs = [...this.#programs].map(([name, program]) => [name, writtenDown(program)] as const)
    return { init: this.#init, holder: writtenDown(this.#holder!), programs: Object.fromEntries(programs) }
  }

  /** Takes over what an earlier run booted and started. */
  resume({ init, holder, programs }: KeptMachine): void {
    this.#init = init
    this.#holder = keptProgram(holder)
    for (const [name, program] of Object.entries(programs)) this.#programs.set(name, keptProgram(program))
  }

  /** Where what the node has of its own below `folder` lies on this machine; to be written to while the node is down. */
  layer(folder: (typeof LAYERS)[number]): string {
    return join(this.dir, 'layer', folder)
  }

  /** A path of the running node, as this machine's processes can open it. */
  path(inside: string): string {
    return `/proc/${this.#init}/root${inside}`
  }

  /** Starts the first process and makes the mounts; the network namespace is there already. */
  async boot(): Promise<void> {
    const { dir, netns, shared, started } = this.#options
    // ignored SIGCHLD: the kernel itself then takes away every process of the node that ends without a parent
    const argv = [
      ...[systemProgram('unshare'), '--mount', '--pid', '--uts', '--fork', '--kill-child'],
      ...['--mount-proc', '--propagation', 'private'],
      ...['--', systemProgram('env'), '--ignore-signal=CHLD', systemProgram('sleep'), 'infinity'],
    ]
    this.#holder = startProgram(`node ${this.name}`, argv, { netns, logFile: this.logFile('machine') })
    started(this.#holder)
    if (!(await until(() => this.#findInit(), 5000))) throw new Error(`${this.name}: its first process did not start`)
    for (const folder of LAYERS) {
      const work = join(dir, 'work', folder)
      mkdirSync(work, { recursive: true })
      const layers = `lowerdir=/${folder},upperdir=${this.layer(folder)},workdir=${work}`
      await this.#mount('-t', 'overlay', '-o', layers, 'overlay', `/${folder}`)
    }
    for (const folder of FOLDERS) {
      mkdirSync(this.path(`/${folder}`), { recursive: true })
      await this.#mount('--bind', join(dir, 'own', folder), `/${folder}`)
    }
    await this.#mount('--bind', shared, '/mnt')
    await this.#mount('-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run')
    // a pod on the host's network has it, by which Kubernetes' own tests tell nodes apart
    await this.run([systemProgram('hostname'), this.name])
    // kubelet and containers share mounts; nothing of it reaches this machine
    await this.#mount('--make-rshared', '/')
  }

  /** Starts a program of the node that runs on. `name` is also its log file's. */
  async start(name: string, argv: readonly string[]): Promise<void> {
    const program = startProgram(`${name} of ${this.name}`, this.#enter(argv), {
      netns: this.#options.netns,
      logFile: this.logFile(name),
      env: { PATH: binaryPath() },
    })
    this.#programs.set(name, program)
    this.#options.started(program)
    // until then there is nothing that `stop` could end
    const isInside = () => childrenOf(program.pid).length > 0 || program.ended !== undefined
    if (!(await until(isInside, 10_000))) throw new Error(`${this.name}: nsenter did not start ${name}`)
  }

  /** Ends a program that `start` started; without one, nothing. `signal` KILL gives it no time. */
  async stop(name: string, signal: 'TERM' | 'KILL' = 'TERM'): Promise<void> {
    const entered = this.#programs.get(name)
    if (entered === undefined) return
    this.#programs.delete(name)
    // nsenter stays outside and waits for the program itself, which is its child
    const inside = childrenOf(entered.pid).flatMap(pid => {
      const startTicks = readStartTicks(pid)
      return startTicks === undefined ? [] : [{ name, pid, startTicks }]
    })
    await stopAll([...inside], signal === 'KILL' ? 0 : 5000)
    await until(() => entered.ended !== undefined, 1000)
  }

  /** What a running program came to, when it has ended by itself. */
  ended(): string | undefined {
    for (const [name, { ended }] of this.#programs)
      if (ended !== undefined) return `${name} of ${this.name} ended (${ended}); its log: ${this.logFile(name)}`
    return undefined
  }

  /** Runs a short program on the node. */
  run(argv: readonly string[], options: { stdin?: string; limitMs?: number } = {}): Promise<Finished> {
    return runProgram(this.#enter(argv), { ...options, netns: this.#options.netns, env: { PATH: binaryPath() } })
  }

  /** As when the power goes: every process is gone, without a word. */
  async powerOff(): Promise<void> {
    const entered = [...this.#programs.values()]
    this.#programs.clear()
    if (this.#holder === undefined) return
    const { pid, startTicks } = this.#holder
    this.#holder = undefined
    // unshare holds SIGTERM back while its child lives; its end kills that one, the node's first process
    await stopAll([{ name: this.name, pid, startTicks }], 0)
    const init = this.#init
    if (!(await until(() => readStartTicks(init) === undefined, 20_000))) throw new Error(`${this.name} does not end`)
    // each waits outside for a program that is gone by now
    await stopAll(entered, 1000)
  }

  logFile(name: string): string {
    return join(this.dir, 'log', `${name}.log`)
  }

  /** The pid of the node's first process; its namespaces are the node's. */
  get init(): number {
    return this.#init
  }

  #enter(argv: readonly string[]): string[] {
    const [program, ...args] = argv
    const path = systemProgram(program!)
    return [systemProgram('nsenter'), `--target=${this.#init}`, '--mount', '--pid', '--uts', '--', path, ...args]
  }

  #findInit(): boolean {
    const child = childrenOf(this.#holder!.pid)[0]
    if (child === undefined || !commandOf(child).startsWith(systemProgram('sleep'))) return false
    this.#init = child
    return true
  }

  async #mount(...args: string[]): Promise<void> {
    const argv = [systemProgram('nsenter'), `--target=${this.#init}`, '--mount', '--', systemProgram('mount'), ...args]
    const run = await runProgram(argv)
    if (run.code !== 0) throw new Error(`${this.name}: mount ${args.join(' ')}: ${run.stderr.trim()}`)
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  } catch {
    return [] // it has ended
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
