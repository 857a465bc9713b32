// A kubeconfig for a server that a test started; the files go when the test's process ends.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeKubeconfig } from '../../apiserver/client-files.ts'
import type { ApiServer } from '../../apiserver/server.ts'

const dir = mkdtempSync(join(tmpdir(), 'margay-kubeconfig-'))
process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
let count = 0

/** Its path. `token` is the administrator's unless another is given. */
export function kubeconfigFor({ secureUrl, token, authority }: ApiServer, otherToken = token): string {
  const path = join(dir, String(++count))
  writeKubeconfig(path, { server: secureUrl, user: 'test', token: otherToken, authority })
  return path
}
