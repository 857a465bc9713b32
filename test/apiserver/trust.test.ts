// Who may speak to margay-api, and what a node's token may write.
import { chmod, mkdtemp, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { nodeKubeconfig, writeKubeconfig } from '../../apiserver/client-files.ts'
import { ownToken, SecretFileError } from '../../apiserver/secret-files.ts'
import { type ApiServer, startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { startProgram } from './program.ts'

const POOLS = '/apis/projectcalico.org/v3/ippools'
const RECEIPTS = '/apis/margay.io/v1/policyreceipts'
const receipt = (name: string) => ({ metadata: { name }, spec: { worked: {}, enforced: [], failing: [] } })
const STATUSES = '/apis/projectcalico.org/v3/caliconodestatuses'
const BLOCKS = '/apis/projectcalico.org/v3/ipamblocks'
const ENDPOINTS = '/apis/projectcalico.org/v3/namespaces/default/workloadendpoints'
const NODES = '/api/v1/nodes'

async function tempDir(t: ExecutionContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'margay-trust-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

type Answer = { code: number; body: { reason?: string; message?: string; details?: object } }

async function call(
  url: string,
  path: string,
  token: string | undefined,
  method = 'GET',
  body?: object,
): Promise<Answer> {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const headers = { 'content-type': type, ...authorization }
  const response = await fetch(url + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { code: response.status, body: text === 'ok' ? {} : JSON.parse(text) }
}

test('on loopback too, nobody without the token reads, writes or discovers anything', async t => {
  const server = await startApiServer()
  t.teardown(() => server.close())
  for (const [method, path] of [
    ['GET', POOLS],
    ['GET', '/apis'],
    ['GET', '/version'],
    ['GET', '/openapi/v2'],
    ['GET', '/nothing'],
    ['POST', POOLS],
    ['DELETE', `${POOLS}/p`],
    ['POST', '/healthz/../api/v1/nodes'],
  ] as const)
    for (const token of [undefined, 'wrong', `${server.token}x`])
      t.like(await call(server.url, path, token, method), { code: 401, body: { reason: 'Unauthorized' } }, path)
  for (const path of ['/healthz', '/livez', '/readyz']) t.is((await call(server.url, path, undefined)).code, 200)
  t.is((await call(server.url, POOLS, server.token)).code, 200)
})

test('a server whose token lies elsewhere makes its data directory itself', async t => {
  const dataDir = join(await tempDir(t), 'new')
  const server = await startApiServer({ dataDir, token: 'right' })
  t.teardown(() => server.close())
  t.is((await stat(dataDir)).mode & 0o777, 0o700)
})

test('a token of another scheme, or with a blank in it, is none', async t => {
  const server = await startApiServer({ token: 'right' })
  t.teardown(() => server.close())
  const { port } = new URL(server.url)
  const code = (authorization: string): Promise<number> =>
    new Promise((resolve, reject) => {
      request({ port, host: '127.0.0.1', path: POOLS, headers: { authorization } }, response => {
        response.resume()
        resolve(response.statusCode!)
      })
        .on('error', reject)
        .end()
    })
  for (const wrong of ['right', 'Basic right', 'Bearer', 'Bearer right x', 'Bearer  '])
    t.is(await code(wrong), 401, wrong)
  t.is(await code('bearer right'), 200)
})

test('the first start makes a token and a kubeconfig that this user alone may read, and later starts keep the token', async t => {
  const dir = await tempDir(t)
  const args = ['--data-dir', dir, '--listen', '127.0.0.1:0']
  const first = await startProgram(args)
  const token = await readFile(join(dir, 'token'), 'utf8')
  t.regex(token, /^[\w-]{43}\n$/)
  for (const file of ['token', 'kubeconfig']) t.is((await stat(join(dir, file))).mode & 0o777, 0o600)
  const store = openStore({ kubeconfig: join(dir, 'kubeconfig') })
  t.deepEqual(await store.list('IPPool'), [])
  await store.close()
  await first.stop('SIGTERM')
  const second = await startProgram(args)
  t.teardown(() => second.stop('SIGTERM'))
  t.is(await readFile(join(dir, 'token'), 'utf8'), token)
  const again = openStore({ kubeconfig: join(dir, 'kubeconfig') })
  t.deepEqual(await again.list('IPPool'), [])
  await again.close()
})

test('a token file that others may read, or that is a link or a folder, is not used', async t => {
  const dir = await tempDir(t)
  const path = join(dir, 'token')
  await writeFile(path, 'known-to-all\n')
  await chmod(path, 0o644)
  t.throws(() => ownToken(path), { instanceOf: SecretFileError, message: /chmod 600/ })
  await symlink('/etc/passwd', join(dir, 'link'))
  t.throws(() => ownToken(join(dir, 'link')), { instanceOf: SecretFileError, message: /symbolic link/ })
  await symlink(join(dir, 'elsewhere'), join(dir, 'dangling'))
  t.throws(() => ownToken(join(dir, 'dangling')), { instanceOf: SecretFileError, message: /symbolic link/ })
  t.throws(() => ownToken(dir), { instanceOf: SecretFileError, message: /no plain file/ })
})

/** A server with a token for n1, one for n2, and one for a user of no known group. */
async function withNodes(t: ExecutionContext): Promise<{ server: ApiServer; n1: string; n2: string; other: string }> {
  const dir = await tempDir(t)
  const server = await startApiServer({ usersFile: join(dir, 'tokens.csv') })
  t.teardown(() => server.close())
  writeKubeconfig(join(dir, 'kubeconfig'), { server: server.url, user: 'admin', token: server.token })
  const tokenOf = (node: string): string => JSON.parse(nodeKubeconfig(dir, node)).users[0].user.token
  const [n1, n2] = [tokenOf('n1'), tokenOf('n2')]
  t.is(tokenOf('n1'), n1, 'the same token at the next call')
  const other = 'a-token-of-somebody-else'
  await writeFile(join(dir, 'tokens.csv'), `${other},jane,jane,"readers"\n`, { flag: 'a' })
  for (const name of ['n1', 'n2'])
    await call(server.url, NODES, server.token, 'POST', { metadata: { name, labels: { rack: 'a' } } })
  return { server, n1, n2, other }
}

const block = (cidr: string, affinity?: string): object => ({
  metadata: { name: cidr.replace(/[./]/g, '-') },
  spec: {
    cidr,
    ...(affinity === undefined ? {} : { affinity }),
    allocations: [null],
    unallocated: [0],
    attributes: [],
    strictAffinity: false,
  },
})
const endpoint = (name: string, node: string): object => ({
  metadata: { name },
  spec: { orchestrator: 'cni', node, endpoint: 'eth0', interfaceName: 'cali1' },
})

test("a node's token writes its own Node, blocks and endpoints, and reads what networking needs", async t => {
  const { server, n1 } = await withNodes(t)
  const ok = async (code: number, path: string, method?: string, body?: object): Promise<void> => {
    const answer = await call(server.url, path, n1, method, body)
    t.is(answer.code, code, `${method ?? 'GET'} ${path}: ${answer.body.message}`)
  }
  await call(server.url, POOLS, server.token, 'POST', { metadata: { name: 'p' }, spec: { cidr: '10.0.0.0/16' } })
  for (const path of [NODES, POOLS, BLOCKS, '/api/v1/namespaces/default', '/apis/projectcalico.org/v3/bgppeers'])
    await ok(200, path)
  const annotations = { 'projectcalico.org/IPv4Address': '192.0.2.1/24' }
  await ok(200, `${NODES}/n1/status`, 'PATCH', { metadata: { annotations } })
  await ok(200, `${NODES}/n1`, 'PATCH', { metadata: { annotations: { note: 'x' } } })
  await ok(201, BLOCKS, 'POST', block('10.0.0.1/32', 'host:n1'))
  await ok(200, `${BLOCKS}/10-0-0-1-32`, 'PATCH', { spec: { strictAffinity: true } })
  await ok(200, `${BLOCKS}/10-0-0-1-32`, 'PATCH', { spec: { affinity: null } })
  await ok(200, `${BLOCKS}/10-0-0-1-32`, 'PATCH', { spec: { affinity: 'host:n1' } })
  await ok(200, `${BLOCKS}/10-0-0-1-32`, 'DELETE')
  await ok(200, `${POOLS}/p`, 'PATCH', { metadata: { finalizers: ['margay/blocks'] } })
  await ok(200, `${POOLS}/p`, 'PATCH', { metadata: { finalizers: [] } })
  await ok(201, ENDPOINTS, 'POST', endpoint('e', 'n1'))
  await ok(200, `${ENDPOINTS}/e`, 'DELETE')
  await call(server.url, STATUSES, server.token, 'POST', { metadata: { name: 's' }, spec: { node: 'n1' } })
  await ok(200, `${STATUSES}/s/status`, 'PATCH', { status: { lastUpdated: '2026-01-01T00:00:00Z' } })
  await ok(201, RECEIPTS, 'POST', receipt('n1'))
  await ok(200, `${RECEIPTS}/n1`, 'PATCH', { spec: { enforced: ['aa'] } })
})

test("a node's token is refused with the object and the rule when it writes what is not its own", async t => {
  const { server, n1, n2 } = await withNodes(t)
  await call(server.url, POOLS, server.token, 'POST', { metadata: { name: 'p' }, spec: { cidr: '10.0.0.0/16' } })
  await call(server.url, BLOCKS, n2, 'POST', block('10.0.0.2/32', 'host:n2'))
  await call(server.url, BLOCKS, n1, 'POST', block('10.0.0.3/32', 'host:n1'))
  await call(server.url, BLOCKS, server.token, 'POST', block('10.0.0.4/32'))
  await call(server.url, ENDPOINTS, n2, 'POST', endpoint('e', 'n2'))
  for (const node of ['n1', 'n2'])
    await call(server.url, STATUSES, server.token, 'POST', { metadata: { name: `of-${node}` }, spec: { node } })
  await call(server.url, RECEIPTS, n2, 'POST', receipt('n2'))
  const own = { ...endpoint('e', 'n1'), metadata: { name: 'e' } }
  const refused: [method: string, path: string, body: object | undefined, rule: RegExp][] = [
    ['PATCH', `${NODES}/n2`, { metadata: { annotations: { a: 'b' } } }, /nodes "n2" is forbidden: .*its own Node/],
    ['PATCH', `${NODES}/n2/status`, { status: {} }, /"nodes\/status".*its own Node/],
    ['POST', NODES, { metadata: { name: 'n3' } }, /nodes "n3" is forbidden: .*its own Node/],
    ['DELETE', `${NODES}/n1`, undefined, /cannot delete resource "nodes"/],
    ['PATCH', `${NODES}/n1`, { metadata: { labels: { rack: 'core' } } }, /leaves metadata\.labels/],
    ['PATCH', `${NODES}/n1`, { spec: { podCIDR: '10.0.0.0/8' } }, /leaves the spec/],
    ['POST', BLOCKS, block('10.0.0.5/32', 'host:n2'), /ipamblocks.*"10-0-0-5-32" is forbidden.*its own blocks/],
    ['POST', BLOCKS, block('10.0.0.5/32'), /its own blocks/],
    ['PATCH', `${BLOCKS}/10-0-0-2-32`, { spec: { affinity: 'host:n1' } }, /"10-0-0-2-32".*its own blocks/],
    [
      'PATCH',
      `${BLOCKS}/10-0-0-2-32`,
      { metadata: { annotations: { 'margay.io/BlockWanted': 'n1', other: 'one' } } },
      /its own blocks/,
    ],
    [
      'PATCH',
      `${BLOCKS}/10-0-0-2-32`,
      { metadata: { annotations: { 'margay.io/BlockWanted': 'n1' } }, spec: { unallocated: [] } },
      /its own blocks/,
    ],
    ['PATCH', `${BLOCKS}/10-0-0-3-32`, { spec: { affinity: 'host:n2' } }, /its own blocks/],
    ['PATCH', `${BLOCKS}/10-0-0-4-32`, { spec: { strictAffinity: true } }, /its own blocks/],
    ['DELETE', `${BLOCKS}/10-0-0-2-32`, undefined, /"10-0-0-2-32".*its own blocks/],
    ['DELETE', `${BLOCKS}/10-0-0-4-32`, undefined, /its own blocks/],
    ['DELETE', BLOCKS, undefined, /cannot deletecollection/],
    ['PATCH', `${RECEIPTS}/n2`, { spec: { enforced: [] } }, /"n2" is forbidden.*its own receipt/],
    ['POST', RECEIPTS, receipt('n3'), /its own receipt/],
    ['POST', '/apis/margay.io/v1/policystatuses', { metadata: { name: 's' } }, /only reads policystatuses/],
    ['PUT', `${ENDPOINTS}/e`, own, /"e" is forbidden.*its own endpoints/],
    ['DELETE', `${ENDPOINTS}/e`, undefined, /its own endpoints/],
    ['POST', POOLS, { metadata: { name: 'q' }, spec: { cidr: '10.9.0.0/16' } }, /by patch alone/],
    [
      'PATCH',
      `${POOLS}/p`,
      { spec: { disabled: true } },
      /ippools.projectcalico.org "p" is forbidden.*nothing of an IPPool/,
    ],
    ['PATCH', `${POOLS}/p`, { metadata: { finalizers: ['other/one'] } }, /nothing of an IPPool but the finalizer/],
    ['PATCH', `${STATUSES}/of-n2/status`, { status: {} }, /status of what asks for its own/],
    ['PATCH', `${STATUSES}/of-n1`, { spec: { classes: ['BGP'] } }, /nothing of a CalicoNodeStatus but its status/],
    ['POST', STATUSES, { metadata: { name: 'x' }, spec: { node: 'n1' } }, /by patch alone/],
    ['POST', '/api/v1/namespaces', { metadata: { name: 'x' } }, /only reads namespaces/],
    ['POST', '/api/v1/namespaces/default/pods', { metadata: { name: 'x' } }, /only reads pods/],
  ]
  for (const [method, path, body, rule] of refused) {
    const answer = await call(server.url, path, n1, method, body)
    t.like(answer, { code: 403, body: { reason: 'Forbidden' } }, `${method} ${path}`)
    t.regex(String(answer.body.message), rule, `${method} ${path}`)
    t.regex(String(answer.body.message), /User "system:node:n1"/)
  }
})

test("a node's token reads a Secret that it names, as its watch does, and neither looks through Secrets nor writes one", async t => {
  const { server, n1, other } = await withNodes(t)
  const path = '/api/v1/namespaces/kube-system/secrets'
  const named = `${path}?fieldSelector=metadata.name%3Dbgp`
  await call(server.url, '/api/v1/namespaces', server.token, 'POST', { metadata: { name: 'kube-system' } })
  const made = await call(server.url, path, server.token, 'POST', {
    ...{ metadata: { name: 'bgp' }, data: { a: 'eA==' }, stringData: { b: 'y' } },
  })
  t.like(made, { code: 201, body: { type: 'Opaque', data: { a: 'eA==', b: 'eQ==' } } })
  t.is((made.body as { stringData?: object }).stringData, undefined, 'plain text is not stored')
  for (const each of [`${path}/bgp`, named]) t.is((await call(server.url, each, n1)).code, 200, each)
  const selected = (selector: string) => `${path}?fieldSelector=${encodeURIComponent(selector)}`
  for (const each of [
    ...[path, '/api/v1/secrets', '/api/v1/secrets?fieldSelector=metadata.name%3Dbgp'],
    ...['metadata.name!=x', 'metadata.name=bgp,type=Opaque', 'type=Opaque', ''].map(selected),
  ])
    t.like(await call(server.url, each, n1), { code: 403, body: { reason: 'Forbidden' } }, each)
  t.is((await call(server.url, `${path}/bgp`, other)).code, 403)
  for (const [method, body] of [
    ['PATCH', { data: { a: null } }],
    ['DELETE', undefined],
  ] as const)
    t.is((await call(server.url, `${path}/bgp`, n1, method, body)).code, 403)
})

test('a node asks for a block of another one by an annotation of it, which it does not take out', async t => {
  const { server, n1, n2 } = await withNodes(t)
  const path = `${BLOCKS}/10-0-0-2-32`
  await call(server.url, BLOCKS, n2, 'POST', block('10.0.0.2/32', 'host:n2'))
  const wish = (by: string | null) => ({ metadata: { annotations: { 'margay.io/BlockWanted': by } } })
  t.is((await call(server.url, path, n1, 'PATCH', wish('n1'))).code, 200)
  t.is((await call(server.url, path, n1, 'PATCH', wish(null))).code, 403)
  t.is((await call(server.url, path, n2, 'PATCH', wish(null))).code, 200)
})

test('a node asks for addresses of a block of another one in its own entry, and leaves those of others', async t => {
  const { server, n1, n2 } = await withNodes(t)
  const path = `${BLOCKS}/10-0-0-2-32`
  await call(server.url, BLOCKS, n2, 'POST', block('10.0.0.2/32', 'host:n2'))
  const wishes = (entries: object | null) => ({
    metadata: { annotations: { 'margay.io/AddressesWanted': entries && JSON.stringify(entries) } },
  })
  const ask = async (token: string, entries: object | null) =>
    (await call(server.url, path, token, 'PATCH', wishes(entries))).code
  t.is(await ask(n1, { n1: { want: [] } }), 200)
  t.is(await ask(n1, { n1: { want: [] }, n3: { want: [] } }), 403, 'in the name of another one')
  t.is(await ask(n2, { n1: { want: [] }, n3: { want: [] } }), 200, 'the owner')
  t.is(await ask(n1, { n1: { want: [] } }), 403)
  t.is(await ask(n1, { n3: { want: [] } }), 200, 'it has its address, or wants none any more')
  t.is(await ask(n1, null), 403)
  const more = { ...wishes({ n1: {}, n3: { want: [] } }), spec: { unallocated: [] } }
  t.is((await call(server.url, path, n1, 'PATCH', more)).code, 403)
})

test('a node takes out the question whether it lives, of a block of which it has addresses, and no question to another one', async t => {
  const { server, n1, n2 } = await withNodes(t)
  const path = `${BLOCKS}/10-0-0-2-32`
  await call(server.url, BLOCKS, n2, 'POST', block('10.0.0.2/32', 'host:n2'))
  const change = async (token: string, asked: object | null, more: object = {}) => {
    const annotations = { 'margay.io/BorrowersAsked': asked && JSON.stringify(asked), ...more }
    return (await call(server.url, path, token, 'PATCH', { metadata: { annotations } })).code
  }
  t.is(await change(n2, { n1: 'x', n3: 'x' }), 200, 'its owner')
  t.is(await change(n1, { n1: 'x' }), 403)
  t.is(await change(n1, null), 403)
  t.is(await change(n1, { n3: 'x' }, { 'margay/owner-asked': 'x' }), 403)
  const free = JSON.stringify({ n1: { at: 'now', free: [] } })
  t.is(await change(n1, { n3: 'x' }, { 'margay.io/AddressesWanted': free }), 200)
})

test('a user of no known group is told so, and a token that is taken out of the file ends', async t => {
  const dir = await tempDir(t)
  const usersFile = join(dir, 'tokens.csv')
  const token = 'a-token-of-somebody-else'
  await writeFile(usersFile, `# who\n\nno line of ours\n${token},jane,1,readers\n`, { mode: 0o600 })
  const { ManualClock } = await import('../../lib/clock.ts')
  const clock = new ManualClock()
  const server = await startApiServer({ usersFile, clock })
  t.teardown(() => server.close())
  t.like(await call(server.url, POOLS, token), { code: 403 })
  t.is((await call(server.url, '/apis', token)).code, 200)
  await writeFile(usersFile, '')
  await utimes(usersFile, 1, 1)
  clock.advance(1000)
  t.is((await call(server.url, '/apis', token)).code, 401)
})

test('a node is told who it is and what it may do', async t => {
  const { server, n1 } = await withNodes(t)
  const who = await call(server.url, '/apis/authentication.k8s.io/v1/selfsubjectreviews', n1, 'POST', {})
  t.like(who, { code: 201, body: { status: { userInfo: { username: 'system:node:n1' } } } } as object)
  const may = async (verb: string, resource: string, name?: string): Promise<unknown> => {
    const group = ['nodes', 'pods'].includes(resource) ? '' : 'projectcalico.org'
    const spec = { resourceAttributes: { verb, group, resource, ...(name === undefined ? {} : { name }) } }
    const { body } = await call(server.url, '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', n1, 'POST', {
      spec,
    })
    return Reflect.get(Reflect.get(body, 'status'), 'allowed')
  }
  t.true(await may('list', 'ippools'))
  t.true(await may('patch', 'nodes', 'n1'))
  t.true(await may('create', 'ipamblocks'))
  t.false(await may('patch', 'nodes', 'n2'))
  t.false(await may('create', 'ippools'))
  t.false(await may('eat', 'ippools'))
  t.false(await may('get', 'secrets'))
})
