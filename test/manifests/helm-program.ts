// Helm, beside Kubernetes' programs (K8S_BIN) or among the machine's.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { binary } from '../../lab/kubernetes/binaries.ts'
import { findSystemProgram } from '../../lib/system-program.ts'

const PATH_OF_HELM = existsSync(binary('helm')) ? binary('helm') : findSystemProgram('helm')
/** Why Helm cannot be run here; undefined when it can. */
export const helmProblem =
  PATH_OF_HELM === undefined ? `no helm: neither ${binary('helm')} nor among the programs of the machine` : undefined

export type HelmRan = { code: number; stdout: string; said: string }

/** Runs Helm with values, which it reads from its input where `args` have `--values -`. */
export function runHelm(args: readonly string[], values: object = {}, kubeconfig = '/nonexistent'): Promise<HelmRan> {
  return new Promise(resolve => {
    const env = { PATH: '/usr/bin:/bin', HOME: '/nonexistent', KUBECONFIG: kubeconfig, HELM_CACHE_HOME: '/nonexistent' }
    const child = execFile(PATH_OF_HELM!, args, { env, maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : 1, stdout, said: stdout + stderr }),
    )
    child.stdin?.end(JSON.stringify(values))
  })
}
