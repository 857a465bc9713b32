// margay-node as a process that lacks what it needs: it ends with 3 and says what to give it.
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, scratchNetns } from '../kernel/scratch-netns.ts'
import { programUnderTest } from '../program-file.ts'

type Ended = { code: number; said: string }

/** Runs margay-node in a network namespace with a route of Margay, with no capability but CAP_SYS_ADMIN. */
async function ended(t: ExecutionContext, command: readonly string[], more: readonly string[] = []): Promise<Ended> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-access-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  using netns = scratchNetns()
  execFileSync(systemProgram('ip'), ['-n', netns.name, 'route', 'add', 'blackhole', '10.3.0.0/26', 'proto', '80'])
  const places = ['data', 'run', 'bin'].flatMap(name => {
    mkdirSync(join(folder, name))
    return [`--${name}-dir`, join(folder, name)]
  })
  writeFileSync(join(folder, 'kubeconfig'), KUBECONFIG)
  const words = [
    programUnderTest('agent/main'),
    ...command,
    '--node-name',
    'n1',
    '--kubeconfig',
    join(folder, 'kubeconfig'),
  ]
  const given = command.length === 0 ? places.slice(0, 4) : places
  const confined = [systemProgram('setpriv'), '--bounding-set=-all,+sys_admin', '--inh-caps=-all', '--']
  const argv = [`--net=${netns.path}`, '--', ...confined, process.execPath, ...words, ...given, ...more]
  return await new Promise(resolve => {
    execFile(systemProgram('nsenter'), argv, { timeout: 90_000 }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), said: stdout + stderr }),
    )
  })
}

const KUBECONFIG = JSON.stringify({
  ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'c' },
  clusters: [{ name: 'c', cluster: { server: 'http://127.0.0.1:1' } }],
  users: [{ name: 'c', user: {} }],
  contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
})

const asRoot = isRoot ? test : test.skip

asRoot('an agent that may not change the network ends and names CAP_NET_ADMIN', async t => {
  const { code, said } = await ended(t, [])
  t.is(code, 3, said)
  t.regex(said, /the network of this machine may not be changed .*give it CAP_NET_ADMIN/)
})

asRoot('an agent whose folder of settings is empty ends and names what belongs there', async t => {
  const { code, said } = await ended(t, [], ['--sysctl-dir', '/nonexistent/net'])
  t.is(code, 3, said)
  t.regex(said, /mount the machine’s \/proc\/sys\/net at \/nonexistent\/net/)
})

asRoot('a removal that may not change the network says so, and is not taken for done', async t => {
  const { code, said } = await ended(t, ['remove'], ['--local'])
  t.is(code, 3, said)
  t.regex(said, /not clean yet: the network of this machine may not be changed .*give it CAP_NET_ADMIN/)
})
