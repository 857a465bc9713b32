// `kubectl margay ...`: the real kubectl starts the program by its name on the PATH, with the user's environment.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { binary } from '../../lab/kubernetes/binaries.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { programUnderTest } from '../program-file.ts'
import { type Run, runHere } from './run.ts'

const MANIFEST = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p1, labels: {site: a}}
spec: {cidr: 10.1.0.0/16}
---
kind: Namespace
metadata: {name: shop}
---
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
`

test('kubectl margay keeps to the kubeconfig, its contexts and namespaces, and answers as kubectl get', async t => {
  t.timeout(120_000)
  if (!existsSync(binary('kubectl'))) {
    t.log('skipped: no kubectl in the folder K8S_BIN')
    return t.pass()
  }
  const server = await startApiServer()
  const dir = mkdtempSync(join(tmpdir(), 'margay-plugin-'))
  t.teardown(async () => {
    await server.close()
    rmSync(dir, { recursive: true })
  })
  const config = JSON.parse(readFileSync(kubeconfigFor(server), 'utf8'))
  const [{ context }] = config.contexts
  config.contexts.push({ name: 'shop', context: { ...context, namespace: 'shop' } })
  const kubeconfig = join(dir, 'kubeconfig')
  writeFileSync(kubeconfig, JSON.stringify(config))
  // a file of that name on the PATH is all that kubectl asks for
  const plugin = `#!${process.execPath}\nprocess.argv[1] = ${JSON.stringify(join(dir, 'kubectl-margay'))}\nimport(${JSON.stringify(programUnderTest('ctl/main'))})\n`
  writeFileSync(join(dir, 'kubectl-margay'), plugin, { mode: 0o755 })
  await runHere(['apply', '-f', '-', '--kubeconfig', kubeconfig], MANIFEST)
  const kubectl = (...args: string[]): Promise<Run> =>
    new Promise(resolve => {
      const env = { PATH: `${dir}:/usr/bin:/bin`, HOME: dir, KUBECONFIG: kubeconfig }
      execFile(binary('kubectl'), args, { env }, (error, out, err) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
      )
    })
  t.regex((await kubectl('plugin', 'list')).out, /kubectl-margay/)
  t.regex((await kubectl('margay', '--help')).out, /^Usage: kubectl margay /)
  t.regex((await kubectl('margay', 'get', 'cats')).err, /^kubectl margay: no kind is called "cats"/)
  t.is((await kubectl('margay', 'get', 'pods', '-o', 'name', '--context', 'shop')).out, 'pod/web\n')
  for (const words of [
    ['get', 'ippools', '-o', 'name'],
    ['get', 'ippool', 'p1', '-o', 'jsonpath={.spec.cidr} {.metadata.labels}'],
    ['get', 'ippools', '-o', 'custom-columns=NAME:.metadata.name,CIDR:.spec.cidr,NONE:.spec.none'],
    ['get', 'ippools', '-o', 'go-template={{range .items}}{{.metadata.name}} {{.spec.cidr}}{{end}}'],
    ['get', 'pods', '-A', '-o', 'custom-columns=N:.metadata.namespace,NAME:.metadata.name', '--no-headers'],
    ['get', 'pods', '--context', 'shop', '-o', 'jsonpath-as-json={.items[*].metadata.name}'],
    ['get', 'pod/web', 'pod/none', '-n', 'shop', '--ignore-not-found', '-o', 'name'],
    ['label', 'ippool', 'p1', 'site=a'],
    ['patch', 'ippool', 'p1', '--type=merge', '-p', '{"spec":{"disabled":false}}'],
    ['delete', 'ippool', 'p1', '--dry-run=server'],
    ['delete', 'ippool', 'none', '--ignore-not-found'],
  ]) {
    const [theirs, ours] = await Promise.all([kubectl(...words), runHere([...words, '--kubeconfig', kubeconfig])])
    t.deepEqual([ours.code, ours.out], [theirs.code, theirs.out], words.join(' '))
  }
})
