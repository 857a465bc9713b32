// A plain user's lab: the same program again, as root of a user namespace of its own with its own network and mounts,
// where the kernel allows it. Nothing in there can change the machine.
import { spawn, spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemProgram } from '../lib/system-program.ts'

const MARK = 'MARGAY_LAB_ISOLATED'

/** Whether this process may make network namespaces: root, or root of a user namespace that we made. */
export function mayMakeNamespaces(): boolean {
  return process.geteuid?.() === 0
}

/** Whether we are inside of the user namespace that `runIsolated` made. */
export function isIsolated(): boolean {
  return process.env[MARK] !== undefined
}

/** Where the lab keeps its files: root's in /run, a plain user's (who has no /run of that name) among temporary files. */
export function labDir(): string {
  const owner = process.env[MARK] ?? String(process.geteuid?.() ?? 0)
  return owner === '0' ? '/run/margay-lab' : join(tmpdir(), `margay-lab-${owner}`)
}

const UNSHARE = ['--user', '--map-root-user', '--net', '--mount']

/** Undefined when a user namespace can be made; else what the kernel said and what helps. */
export function isolationProblem(): string | undefined {
  const tried = spawnSync(
    systemProgram('unshare'),
    [...UNSHARE, systemProgram('mount'), '-t', 'tmpfs', 'tmpfs', '/run'],
    {
      encoding: 'utf8',
    },
  )
  if (tried.status === 0) return undefined
  const said = tried.error?.message ?? tried.stderr.trim()
  return (
    `this user may not make network namespaces (${said}). Run it as root, or let users make user namespaces:\n` +
    '  sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000   (and, on Ubuntu,\n' +
    '  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0), or use --vm, which needs neither'
  )
}

/** Runs this program again inside, and resolves with its exit code. Signals go to both: it cleans up, we wait. */
export function runIsolated(): Promise<number> {
  const inside = [systemProgram('sh'), '-c', `${systemProgram('mount')} -t tmpfs tmpfs /run && exec "$@"`, 'sh']
  return runAgain(systemProgram('unshare'), [...UNSHARE, '--', ...inside])
}

/**
 * As `runIsolated`, where a process of an earlier run is. In its network namespace too: who goes to others and comes back needs
 * one to come back to that is the user namespace's own.
 */
export function enterIsolated(pid: number): Promise<number> {
  return runAgain(systemProgram('nsenter'), ['-t', String(pid), '-U', '--preserve-credentials', '-m', '-n', '--'])
}

function runAgain(program: string, words: readonly string[]): Promise<number> {
  const [, script, ...args] = process.argv
  const env = { ...process.env, [MARK]: String(process.geteuid?.()) }
  const child = spawn(program, [...words, process.execPath, script!, ...args], { stdio: 'inherit', env })
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, () => {
      if (name !== 'SIGINT') child.kill(name) // a terminal gives Ctrl-C to the child as well
    })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', code => resolve(code ?? 1))
  })
}
