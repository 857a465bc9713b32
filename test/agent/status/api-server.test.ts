// Each reason why the API server is away has its own name and remedy; the kubeconfig is named only where it may be wrong.
import { createServer } from 'node:net'
import test from 'ava'
import { disconnected } from '../../../agent/status/api-server.ts'
import { ApiConnection } from '../../../datastore/connection.ts'
import { Conflict, NotFound, Refused, Unreachable } from '../../../datastore/port.ts'

/** As `ApiConnection` has errors of Node. */
const unreachable = (code: string, message = `connect ${code} 10.0.0.1:6443`): Error => {
  const cause = Object.assign(new Error(message), { code })
  return new Unreachable(`cannot reach the API server at https://10.0.0.1:6443: ${message}`, { cause })
}

for (const [title, cause, reason, remedy, blamesKubeconfig] of [
  ['a lost default route', unreachable('ENETUNREACH'), 'NoRoute', /default route was lost.*ip route get/, false],
  ['a router that does not answer', unreachable('EHOSTUNREACH'), 'NoRoute', /ip neigh/, false],
  ['a changed node address', unreachable('EADDRNOTAVAIL'), 'NoLocalAddress', /NodeAddressKnown/, false],
  ['a full connection tracking table', unreachable('EPERM'), 'Filtered', /ConnectionsTracked/, false],
  ['packets that get lost', unreachable('ETIMEDOUT'), 'NoAnswer', /ConnectionsTracked.*firewalls/, false],
  ['a server that is not running', unreachable('ECONNREFUSED'), 'NothingListens', /start the API server/, true],
  ['a server that breaks off', unreachable('ECONNRESET'), 'ConnectionLost', /restarts/, false],
  ['a name that does not exist', unreachable('ENOTFOUND'), 'NameUnknown', /DNS/, true],
  ['no name server', unreachable('EAI_AGAIN'), 'NoNameServer', /resolv\.conf/, false],
  ['another CA', unreachable('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'NotTrusted', /certificate-authority/, true],
  ['an old certificate', unreachable('CERT_HAS_EXPIRED'), 'CertificateExpired', /renew.*clock of this machine/, false],
  ['a clock of last year', unreachable('CERT_NOT_YET_VALID'), 'CertificateNotYetValid', /set the clock/, false],
  [
    'an old client certificate',
    unreachable('ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED'),
    'CertificateExpired',
    /renew/,
    true,
  ],
  ['a token that is not valid', new Refused(401, 'Unauthorized'), 'Unauthorized', /token/, true],
  ['a user without rights', new Refused(403, 'nodes is forbidden'), 'Forbidden', /RBAC/, true],
  ['a process without a descriptor', unreachable('EMFILE'), 'NoDescriptor', /DescriptorsLeft/, false],
  ['a machine without a descriptor', unreachable('ENFILE'), 'NoDescriptor', /DescriptorsLeft/, false],
  [
    'a server that fails',
    new Unreachable('HTTP 500', { status: 500 }),
    'ServerFails',
    /the log of the API server/,
    false,
  ],
  ['a server that sheds load', new Unreachable('HTTP 429', { status: 429 }), 'TooManyRequests', /FlowSchemas/, false],
  ['a kind that is not served', new NotFound('HTTP 404 (GET /api/v1/pods)'), 'NotServed', /apply the CRDs/, true],
  ['a page of a proxy', new Unreachable('no JSON', { cause: new SyntaxError() }), 'NoApiServer', /a proxy/, true],
  ['what nobody expects', new Conflict('HTTP 409 (GET /api/v1/nodes)'), 'Disconnected', /its log/, false],
] as const)
  test(`the API server is away because of ${title}: the condition says so, and what to do`, t => {
    const condition = disconnected(cause)
    t.like(condition, { type: 'ApiServerConnected', status: 'False', reason })
    t.true(condition.message.startsWith(cause.message), condition.message)
    t.regex(condition.remedy, remedy)
    t.is(condition.remedy.includes('kubeconfig'), blamesKubeconfig, condition.remedy)
  })

test('what Node says of a port where nothing listens becomes the condition of that cause', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  const connection = new ApiConnection({ server: `http://127.0.0.1:${port}` })
  const error = await t.throwsAsync(connection.call({ method: 'GET', path: '/api' }))
  t.is(disconnected(error).reason, 'NothingListens')
  connection.close()
})

test('a server that takes the connection and never answers is told as packets that get lost', async t => {
  const server = createServer(socket => socket.resume()).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const connection = new ApiConnection({ server: `http://127.0.0.1:${port}`, timeoutMs: 50 })
  const error = await t.throwsAsync(connection.call({ method: 'GET', path: '/api' }))
  t.is(disconnected(error).reason, 'NoAnswer')
  connection.close()
  server.close()
})
