// Two network namespaces with one link between them, a daemon in one and the tester in the other, made for one run and
// removed after it. Namespace names hold the pid of the bench, so that the next run removes those of a killed one.
import { type ChildProcess, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ENV } from '../../image/bundle.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { addNetns, listNetns, netnsPath, removeNetns, spawnInNetns } from '../../kernel/netns.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { DAEMONS, type DaemonName } from './daemons.ts'
import { DAEMON, LINK_LENGTH, place, type TestPlace } from './places.ts'
import { kernelPrefixes, SCENARIOS, type ScenarioName, type Sizes } from './scenarios.ts'
import type { TesterReport } from './tester.ts'

const NAME = /^mgbgp-(\d+)-\w+$/
const TESTER = fileURLToPath(new URL('./tester.ts', import.meta.url))
const DIARY = fileURLToPath(new URL('./diary.ts', import.meta.url))
const KILL_AFTER_MS = 3000

/** A scenario that did not end: too slow, or the daemon or the tester gave up. */
export class ScenarioFailed extends Error {
  override readonly name = 'ScenarioFailed'
}

/** Starts `daemon` and runs one scenario against it, until it ends or `until` does: then `ScenarioFailed`. */
export async function runScenario(
  daemon: DaemonName,
  scenario: ScenarioName,
  sizes: Sizes,
  until: AbortSignal,
  bundle?: string,
): Promise<TesterReport> {
  const places = SCENARIOS[scenario].places(sizes)
  await using stack = new AsyncDisposableStack()
  const arena = await buildArena(stack, places)
  const command = DAEMONS[daemon].prepare(arena.folder, places, {
    kernel: scenario === 'kernel',
    ...(bundle !== undefined && { bundle }),
  })
  if (daemon === 'frr') execFileSync(systemProgram('chown'), ['-R', 'frr', arena.folder])
  const [program = '', ...args] = command
  const diary = join(arena.folder, 'diary')
  const keepsDiary = scenario === 'kernel' && program === process.execPath
  if (keepsDiary) args.unshift('--import', DIARY)
  const env = {
    ...process.env,
    ...(daemon === 'margay' && bundle !== undefined && ENV),
    ...(keepsDiary && { BENCH_DIARY: diary }),
  }
  const running = spawnInNetns(arena.daemon, program, args, { stdio: ['ignore', 'ignore', 'pipe'], env })
  stack.defer(() => end(running))
  let said = ''
  running.stderr?.on('data', chunk => {
    said = (said + chunk).slice(-2000)
  })
  const died = once(running, 'exit').then(([code, signal]) => {
    throw new ScenarioFailed(`${daemon} ended (${code ?? signal}): ${said.trim()}`)
  })
  // await here: the end of the block removes the namespaces
  return await Promise.race([test(stack, arena.tester, [scenario, running.pid ?? 0, sizes, diary], until), died])
}

/** Measures the tester without a daemon. */
export async function runAlone(sizes: Sizes, until: AbortSignal): Promise<TesterReport> {
  await using stack = new AsyncDisposableStack()
  const arena = await buildArena(stack, [place(0), place(1)])
  return await test(stack, arena.tester, ['alone', 0, sizes, ''], until)
}

let arenas = 0

async function buildArena(stack: AsyncDisposableStack, places: readonly TestPlace[]) {
  sweep()
  const names = ['d', 't'].map(side => `mgbgp-${process.pid}-${side}${arenas}`)
  arenas++
  const [daemon = '', tester = ''] = names.map(netnsPath)
  for (const name of names) {
    addNetns(name)
    stack.defer(() => removeNetns(name))
  }
  const folder = mkdtempSync(join(tmpdir(), 'margay-bgp-'))
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  using root = openKernel()
  using near = root.inside(daemon)
  using far = root.inside(tester)
  for (const kernel of [near, far]) await kernel.setLink('lo', { up: true })
  const link = await near.createLink({ kind: 'veth', name: 'e0', peer: { name: 'e0', netns: tester } })
  await near.addAddress({ ifindex: link.index, address: DAEMON.address, length: LINK_LENGTH, scope: 0 })
  const other = (await far.link('e0'))?.index ?? 0
  for (const { address } of places) await far.addAddress({ ifindex: other, address, length: LINK_LENGTH, scope: 0 })
  for (const kernel of [near, far]) await kernel.setLink('e0', { up: true })
  return { daemon, tester, folder }
}

async function test(
  stack: AsyncDisposableStack,
  netns: string,
  [name, pid, sizes, diary]: readonly [name: ScenarioName | 'alone', pid: number, sizes: Sizes, diary: string],
  until: AbortSignal,
): Promise<TesterReport> {
  const args = [TESTER, name, String(pid), JSON.stringify(sizes), diary]
  const tester = spawnInNetns(netns, process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  stack.defer(() => end(tester))
  let [printed, said] = ['', '']
  tester.stdout?.on('data', chunk => {
    printed += chunk
  })
  tester.stderr?.on('data', chunk => {
    said = (said + chunk).slice(-2000)
  })
  let came = ''
  const kill = () => {
    if (name === 'kernel') came = `: it came to ${kernelPrefixes(pid)} prefixes in the kernel`
    tester.kill('SIGKILL')
  }
  until.addEventListener('abort', kill)
  if (until.aborted) kill()
  const [code, signal] = await once(tester, 'close')
  until.removeEventListener('abort', kill)
  if (code === 0) return JSON.parse(printed) as TesterReport
  throw new ScenarioFailed(signal === null ? said.trim() : `it took too long${came}`)
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const late = new AbortController()
  const forced = delay(KILL_AFTER_MS, undefined, { signal: late.signal }).then(
    () => child.kill('SIGKILL'),
    () => undefined,
  )
  await gone
  late.abort()
  await forced
}

function sweep(): void {
  for (const name of listNetns()) {
    const pid = NAME.exec(name)?.[1]
    if (pid !== undefined && Number(pid) !== process.pid && !existsSync(`/proc/${pid}`)) removeNetns(name)
  }
}
