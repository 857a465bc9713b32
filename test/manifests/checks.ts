// One real API server for the checks of a test file, kubectl against it, and stores with the rights of the accounts of the
// installation. Where no server can be started the checks are skipped, and say why.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { removeNode } from '../../agent/remove.ts'
import { openStore } from '../../datastore/kube.ts'
import type { Store } from '../../datastore/port.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { until } from '../../lab/program.ts'
import { type ApiServer, apiServerProblem, startApiServer } from './api-server.ts'

/** What a check works with. */
export type Cluster = {
  api: ApiServer
  /** Runs kubectl and gives its output. The test fails where kubectl does. */
  must(args: readonly string[], input?: string): Promise<string>
  /**
   * Deletes what the arguments of `kubectl delete` say, CRDs among it, and waits until it is gone. A server that still makes the
   * storage of a new CRD cannot delete its objects, and tries that again much later, but at once where the CRD changes.
   */
  mustGo(args: readonly string[]): Promise<void>
  /** A store with the rights of a ServiceAccount of kube-system, until the test ends. */
  storeOf(account: string): Promise<Store>
}

export const SERVER_SIDE = ['apply', '--server-side', '--force-conflicts']

/**
 * Starts the server before the tests of the file, and gives what makes a check: a test that runs alone, with that server.
 * `missing` says what else it lacks here.
 */
export function apiServerChecks(): (
  title: string,
  run: (t: ExecutionContext, cluster: Cluster) => Promise<void>,
  missing?: string,
) => void {
  const problem = apiServerProblem()
  let server: ApiServer | undefined
  test.before(async t => {
    t.timeout(240_000)
    if (problem === undefined) server = await startApiServer()
  })
  test.after.always(async () => {
    await server?.close()
  })
  return (title, run, missing) =>
    test.serial(title, async t => {
      t.timeout(240_000)
      const why = problem ?? missing
      if (why !== undefined) {
        t.log(`skipped: ${why}`)
        return t.pass()
      }
      await run(t, clusterOf(server!, t))
    })
}

function clusterOf(api: ApiServer, t: ExecutionContext): Cluster {
  const must = async (args: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await api.kubectl(args, input)
    t.is(code, 0, `kubectl ${args.join(' ')}: ${stderr}`)
    return stdout
  }
  const storeOf = async (account: string): Promise<Store> => {
    const token = (await must(['-n', 'kube-system', 'create', 'token', account])).trim()
    const store = openStore({ program: `${account}/1`, kubeconfig: api.kubeconfig(token) })
    t.teardown(() => store.close())
    return store
  }
  const mustGo = async (args: readonly string[]): Promise<void> => {
    await must(['delete', '--wait=false', ...args])
    const leaving = ['get', 'crd', '-o', 'jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}']
    let round = 0
    const areGone = async () => {
      const names = (await must(leaving)).split(' ').filter(name => name !== '')
      // one of them may be gone by now
      for (const name of names) await api.kubectl(['label', '--overwrite', 'crd', name, `round=${round}`])
      round++
      return names.length === 0
    }
    t.true(await until(areGone, 90_000, 2000), `CRDs do not go: ${await must(leaving)}`)
    await must(['delete', '--ignore-not-found', ...args])
  }
  return { api, must, mustGo, storeOf }
}

/** Removes the network of the whole cluster from the node n1, whose folders are empty; says what was removed. */
export async function removedFromN1(t: ExecutionContext, { storeOf }: Cluster): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-remove-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return removeNode(
    {
      ...{ nodeName: 'n1', routeProtocol: 80, wholeCluster: true, confName: '10-margay.conflist' },
      ...{ dataDir: join(folder, 'data'), runDir: join(folder, 'run'), binDir: join(folder, 'bin') },
    },
    { kernel: new FakeWorld().kernel(), store: await storeOf('margay-remove') },
  )
}
