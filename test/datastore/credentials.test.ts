import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { stringify } from 'yaml'
import { ApiConnection } from '../../datastore/connection.ts'
import { accessOf } from '../../datastore/credentials.ts'
import { Unreachable } from '../../datastore/port.ts'

const SERVER = 'https://192.0.2.1:6443'

/** A folder with a kubeconfig of one cluster and one user, and how to put files beside it. */
function aKubeconfig(
  t: ExecutionContext,
  cluster: object,
  user: object,
): { path: string; put(name: string, text: string): string } {
  const folder = mkdtempSync(join(tmpdir(), 'margay-kubeconfig-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const put = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: 'other', cluster: { server: 'https://192.0.2.9' } },
      { name: 'c', cluster: { server: SERVER, ...cluster } },
    ],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  }
  return { path: put('config', stringify(config)), put }
}

test('a token, a CA and a client certificate come from the kubeconfig or from files beside it', async t => {
  const data = Buffer.from('the key').toString('base64')
  const user = { token: 'secret', 'client-certificate': 'client.crt', 'client-key-data': data }
  const cluster = { 'certificate-authority': 'ca.crt', 'tls-server-name': 'api.example.org' }
  const { path, put } = aKubeconfig(t, cluster, user)
  put('ca.crt', 'the CA')
  put('client.crt', 'the certificate')
  const access = accessOf({ kubeconfig: path })
  t.is(access.server.href, `${SERVER}/`)
  t.false(access.viaProxy)
  t.deepEqual(await access.authenticate(), {
    headers: { authorization: 'Bearer secret' },
    ca: 'the CA',
    cert: 'the certificate',
    key: 'the key',
    servername: 'api.example.org',
  })
})

test('TLS is verified unless the kubeconfig says otherwise', async t => {
  const open = aKubeconfig(t, { 'insecure-skip-tls-verify': true }, {})
  t.like(await accessOf({ kubeconfig: open.path }).authenticate(), { rejectUnauthorized: false })
  const closed = aKubeconfig(t, {}, {})
  t.false('rejectUnauthorized' in (await accessOf({ kubeconfig: closed.path }).authenticate()))
})

test('a credential program is run by client-node', async t => {
  const credential = {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    status: { token: 'made' },
  }
  const { path, put } = aKubeconfig(
    t,
    {},
    { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: './login', interactiveMode: 'Never' } },
  )
  chmodSync(put('login', `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`), 0o755)
  const before = process.cwd()
  process.chdir(join(path, '..'))
  t.teardown(() => process.chdir(before))
  const access = accessOf({ kubeconfig: path })
  t.is(access.server.href, `${SERVER}/`)
  t.like(await access.authenticate(), { headers: { Authorization: 'Bearer made' } })
})

test('a credential that cannot be had is Unreachable: it may come back', async t => {
  const { path, put } = aKubeconfig(t, {}, { tokenFile: 'token' })
  const access = accessOf({ kubeconfig: path })
  await t.throwsAsync(access.authenticate(), { instanceOf: Unreachable, message: /credentials .*token/ })
  put('token', 'late\n')
  t.deepEqual(await access.authenticate(), { headers: { authorization: 'Bearer late' } })
})

test('a kubeconfig that is not there, or without a current context, is refused at once', t => {
  t.throws(() => accessOf({ kubeconfig: '/nonexistent/config' }), { message: /nonexistent/ })
  const { put } = aKubeconfig(t, {}, {})
  const empty = put('empty', 'apiVersion: v1\nkind: Config\n')
  t.throws(() => accessOf({ kubeconfig: empty }), { message: /no current context/ })
})

test('a server that is named needs no kubeconfig', async t => {
  const access = accessOf({ server: 'http://127.0.0.1:6480', token: 'x', caData: 'the CA' })
  t.is(access.server.origin, 'http://127.0.0.1:6480')
  t.deepEqual(await access.authenticate(), { headers: { authorization: 'Bearer x' }, ca: 'the CA' })
})

test('credentials that did not work are read again at the next request, those of the kubeconfig itself too', async t => {
  const { path, put } = aKubeconfig(t, {}, { token: 'old' })
  const access = accessOf({ kubeconfig: path })
  const token = async () => (await access.authenticate()).headers
  t.deepEqual(await token(), { authorization: 'Bearer old' })
  const text = readFileSync(path, 'utf8')
  put('config', text.replace('token: old', 'token: new'))
  t.deepEqual(await token(), { authorization: 'Bearer old' }, 'files are not read for each request')
  access.forget()
  t.deepEqual(await token(), { authorization: 'Bearer new' })
  put('config', 'half a fi')
  access.forget()
  t.deepEqual(await token(), { authorization: 'Bearer new' }, 'a file that is being written says nothing new')
})

test('a watch that the server ends in order costs no reading of the credentials, and one that breaks does', async t => {
  const seen: (string | undefined)[] = []
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.write('{}')
    if (request.url === '/broken') setImmediate(() => response.destroy())
    else response.end()
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { path, put } = aKubeconfig(t, {}, { token: 'old' })
  const text = readFileSync(path, 'utf8').replace(SERVER, `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  put('config', text)
  const connection = new ApiConnection({ kubeconfig: path })
  t.teardown(() => connection.close())
  const watch = async (url: string): Promise<void> => {
    const stream = await connection.open({ method: 'GET', path: url })
    await stream.each(() => undefined)
  }
  await watch('/whole')
  await new Promise(resolve => setImmediate(resolve))
  put('config', text.replace('token: old', 'token: new'))
  await t.throwsAsync(watch('/broken'), { instanceOf: Unreachable })
  await watch('/whole')
  t.deepEqual(seen, ['Bearer old', 'Bearer old', 'Bearer new'])
})
