// `margayctl explain` as an operator runs it, from a machine that is no node: by the API server, with JSON as its answer.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Explanation } from '../../api/explanation.ts'
import type { NamedObject } from '../../api/status-answers.ts'
import type { CauseCode } from '../../explain/causes.ts'
import { root } from '../../lab/lab.ts'
import { runProgram } from '../../lab/program.ts'
import { systemProgram } from '../../lib/system-program.ts'
import type { Cluster } from './case.ts'
import { seconds } from './observe.ts'

/** A cause as cases want it: what it is, and whom it names. */
type Want = { code: CauseCode; object: NamedObject }

/** A node by itself has no steps. */
type Said = Pick<Explanation, 'verdict' | 'first' | 'asked'> & Partial<Pick<Explanation, 'steps'>>

/** Longer than a change of a policy or an endpoint takes on the way to every kernel, on a busy machine too. */
const TRIED_MS = 60_000

type Words = readonly string[]

/** What it printed, and how long it took in seconds. Rejects where it says neither yes nor no. `hosts`: a file in the place of /etc/hosts. */
export async function explain({ lab }: Pick<Cluster, 'lab'>, words: Words, hosts?: string) {
  const argv = [process.execPath, join(root, 'ctl/main.ts'), 'explain', ...words, '-o', 'json']
  const all = [...argv, '--kubeconfig', lab.kubeconfig]
  const startedMs = performance.now()
  const { code, stdout, stderr } = await runProgram(hosts === undefined ? all : withHosts(hosts, all), {
    netns: lab.plan.api.netns,
  })
  const took = (performance.now() - startedMs) / 1000
  assert.ok(code === 0 || code === 1, `explain ${words.join(' ')}: ${stderr.trim()}`)
  return { code, said: JSON.parse(stdout) as unknown, took }
}

/** In a mount namespace of its own, where this file is /etc/hosts. */
function withHosts(file: string, argv: readonly string[]): string[] {
  return [
    systemProgram('unshare'),
    '--mount',
    systemProgram('sh'),
    '-c',
    'mount --bind "$0" /etc/hosts && exec "$@"',
    file,
    ...argv,
  ]
}

/** Every way that packets may take is known to pass. */
export async function passes(cluster: Cluster, words: Words, hosts?: string): Promise<string> {
  return await settled(cluster, words, undefined, hosts)
}

/** The first thing that stops the packets, in any of the ways that they may take, is this. */
export async function stops(cluster: Cluster, words: Words, want: Want): Promise<string> {
  return await settled(cluster, words, want)
}

/**
 * Asks until it says so. What was just changed may not be everywhere yet, so that packets may pass or be open; a cause that is not
 * there is a fault at any time.
 */
async function settled(cluster: Cluster, words: Words, want: Want | undefined, hosts?: string): Promise<string> {
  const endMs = performance.now() + TRIED_MS
  for (;;) {
    const { code, said, took } = await explain(cluster, words, hosts)
    const { verdict, first, ...rest } = said as Said
    const found = first === undefined ? undefined : { code: first.code, object: first.object }
    if (found !== undefined) assert.deepEqual(found, want, `${words.join(' ')}: ${first!.message}`)
    const isSo = want === undefined ? verdict === 'passes' : found !== undefined
    if (isSo) {
      assert.equal(code, verdict === 'passes' ? 0 : 1)
      return `${want?.code ?? 'passes'}, ${took.toFixed(1)} s`
    }
    assert.ok(performance.now() < endMs, `${words.join(' ')}: ${verdict}: ${openOf(rest)}`)
    await seconds(0.5)
  }
}

function openOf({ steps = [], asked }: Pick<Said, 'steps' | 'asked'>): string {
  const open = steps.filter(({ verdict }) => verdict !== 'passes')
  return [
    ...open.map(({ node, direction, name, says }) => `${direction} ${node} ${name}: ${says}`),
    ...asked.flatMap(({ node, silent }) => (silent === undefined ? [] : [`${node} is silent: ${silent}`])),
  ].join('; ')
}
