// A cluster whose nodes' programs are played: what margayctl started there writes what the test says, with a clock that stands still.
import type { Context, Options } from '../../ctl/command.ts'
import type { PodExec, PodProgram } from '../../datastore/exec.ts'
import { Unreachable } from '../../datastore/port.ts'
import { type Clock, ManualClock } from '../../lib/clock.ts'

export function aPod(node: string, { ready = true, owner = 'margay-node' } = {}) {
  return {
    metadata: { name: `agent-${node}`, ownerReferences: [{ kind: 'DaemonSet', name: owner, controller: true }] },
    spec: { nodeName: node },
    status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  }
}

export const line = (value: unknown) => `${JSON.stringify(value)}\n`

export type There = { write(text: string, from?: 'out' | 'err'): void; end(why?: string): void; closed: boolean }

/** A command that asks nodes. */
type Run = (names: readonly string[], options: Options, context: Context, clock: Clock) => Promise<unknown>

/** A cluster whose programs are in the test's hands; `program` is called for each that starts. */
export function cluster(
  command: Run,
  pods: object[],
  program: (there: There, asked: PodProgram) => void | Promise<void>,
) {
  const clock = new ManualClock()
  const said = { out: '', err: '' }
  const say = (where: 'out' | 'err') => (text: string) => {
    said[where] += text
  }
  const asked: PodProgram[] = []
  const interrupted = Promise.withResolvers<void>()
  let isLost = false
  const exec: PodExec = async (call, take) => {
    asked.push(call)
    const ended = Promise.withResolvers<string | undefined>()
    const there: There = {
      write: (text, from = 'out') => take(from, Buffer.from(text)),
      end: why => ended.resolve(why),
      closed: false,
    }
    await program(there, call)
    return { ended: ended.promise, close: () => void Object.assign(there, { closed: true }) }
  }
  const read = async () => {
    if (isLost) throw new Unreachable('no answer')
    return { items: pods }
  }
  const context = {
    ...{
      objects: async () => ({ read, list: async () => [], text: async () => '' }),
      exec: async () => exec,
      interrupted: () => interrupted.promise,
    },
    ...{ out: say('out'), err: say('err'), note: say('err'), unread: () => 0 },
  } as unknown as Context
  return {
    ...{ clock, said, asked, pods },
    interrupt: () => interrupted.resolve(),
    lose: () => {
      isLost = true
    },
    run: (options: Options = {}, names: string[] = []) =>
      command(names, { output: 'json', timeout: '10', margayNamespace: 'kube-system', ...options }, context, clock),
  }
}

/** After everything that promises alone can do. */
export const settled = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)))
