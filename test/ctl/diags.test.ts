// `cluster diags` against a server whose every corner holds a secret.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test from 'ava'
import { withoutSecrets } from '../../ctl/redaction.ts'
import { parseYaml } from '../../ctl/yaml.ts'
import { textWithoutSecrets } from '../../lib/redaction-text.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { runHere } from './run.ts'

const REMOVED = '<removed>'
const SECRET = 'hunter2-planted'
const JWT = `eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ${SECRET.slice(0, 7)}.c2lnbmF0dXJl`
const KEY = `-----BEGIN RSA PRIVATE KEY-----\n${SECRET}\n-----END RSA PRIVATE KEY-----`
const KUBECONFIG = `apiVersion: v1\nusers:\n- name: u\n  user: {token: ${SECRET}, client-key-data: ${SECRET}}\n`

// biome-ignore lint/suspicious/noExplicitAny: what is compared has every shape that an object has
type Loose = any

const LISTS: Readonly<Record<string, readonly object[]>> = {
  '/apis/projectcalico.org/v3/bgppeers': [
    { metadata: { name: 'tor' }, spec: { peerIP: '192.0.2.1', password: SECRET } },
    // a reference to a Secret is none
    { metadata: { name: 'ref' }, spec: { password: { secretKeyRef: { name: 'bgp-secret', key: 'rr' } } } },
  ],
  '/apis/projectcalico.org/v3/bgpconfigurations': [
    { metadata: { name: 'default' }, spec: { nodeMeshPassword: SECRET, asNumber: 64512 } },
  ],
  '/api/v1/namespaces/kube-system/events': [
    { involvedObject: { kind: 'Pod', name: 'margay-node-x' }, message: `pulled https://${SECRET}@registry/` },
    { involvedObject: { kind: 'Pod', name: 'somebody-else' }, message: 'created' },
    { involvedObject: { kind: 'ConfigMap', name: 'margay-node-x' }, message: 'created' },
  ],
  '/api/v1/nodes': [
    {
      metadata: {
        name: 'n1',
        annotations: { 'projectcalico.org/ASNumber': '64999', 'example.org/login': SECRET },
      },
      status: { images: [{ names: [SECRET] }] },
    },
  ],
  '/api/v1/namespaces/kube-system/configmaps': [
    {
      metadata: { name: 'margay-config' },
      data: {
        ...{ kubeconfig: KUBECONFIG, note: `proxy http://u:${SECRET}@p:3128`, mtu: '1400' },
        ...{
          passwords: SECRET,
          'pass.txt': SECRET,
          bgp_secret_key: SECRET,
          'tls.key': SECRET,
          'password-file': SECRET,
        },
        'x.yaml': `password: |\n  ${SECRET}\n\n  ${SECRET}\ntokens:\n- ${SECRET}\nkept: yes\n`,
      },
    },
  ],
  '/api/v1/namespaces/kube-system/pods': [
    {
      metadata: {
        name: 'margay-node-x',
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': `{"password":"${SECRET}"}` },
      },
      spec: {
        volumes: [
          {
            name: 'kube-api-access',
            projected: {
              sources: [
                { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
                { secret: { name: 'etcd', items: [{ key: 'ca', path: 'ca.crt' }] } },
              ],
            },
          },
        ],
        containers: [
          {
            name: 'agent',
            args: ['--node-name', 'n1', '--token', SECRET, `--bgp-password=${SECRET}`],
            env: [
              { name: 'NODE_NAME', value: 'n1' },
              { name: 'NODE_TOKEN', value: SECRET },
              { name: 'OTHER', value: SECRET },
            ],
          },
        ],
      },
    },
  ],
}
const LOG = [
  'agent is ready',
  `authorization: Bearer ${SECRET}`,
  `{"level":"info","password":"${SECRET}","peer":"tor"}`,
  `{"msg":"sent {\\"token\\":\\"${SECRET}\\"}"}`,
  `token ${JWT} was refused`,
  KEY,
  `get https://admin:${SECRET}@10.0.0.1/`,
].join('\n')

test('the archive has objects, logs and versions, and not one of the planted secrets', async t => {
  const server = createServer((request, response) => {
    const path = request.url!.split('?')[0]!
    if (path.endsWith('/log'))
      return void (request.url!.includes('previous=true') ? response.writeHead(400).end('{}') : response.end(LOG))
    if (path === '/apis')
      return void response.end('{"groups":[{"name":"projectcalico.org","versions":[{"version":"v3"}]}]}')
    if (path === '/version') return void response.end('{"gitVersion":"v1.36.3"}')
    response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items: LISTS[path] ?? [] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const dir = mkdtempSync(join(tmpdir(), 'margay-diags-'))
  t.teardown(() => {
    server.close()
    rmSync(dir, { recursive: true })
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const file = join(dir, 'd.tar.gz')
  const args = ['cluster', 'diags', '--file', file, '--server', url, '--socket', join(dir, 'none.sock')]
  const { out } = await runHere(args)
  t.regex(out, /logs\/margay-node-x\/agent\.log: ok/)
  t.regex(out, /agent\/status\.json: there is no socket/)
  const octets = gunzipSync(readFileSync(file)).toString()
  for (const secret of [SECRET, JWT, 'RSA PRIVATE'])
    t.deepEqual(
      octets.split('\n').filter(line => line.includes(secret)),
      [],
    )
  execFileSync(systemProgram('tar'), ['xzf', file, '-C', dir])
  const text = (path: string): string => readFileSync(join(dir, 'margay-diags', path), 'utf8')
  t.regex(text('versions.yaml'), /gitVersion: v1\.36\.3/)
  t.regex(text('objects/bgppeers.yaml'), /peerIP: 192\.0\.2\.1[\s\S]*name: bgp-secret/)
  t.regex(text('objects/nodes.yaml'), /projectcalico\.org\/ASNumber: "64999"[\s\S]*example\.org\/login: <removed>/)
  t.regex(text('installation/configmaps.yaml'), /mtu: "1400"/)
  t.regex(text('installation/pods.yaml'), /NODE_NAME\n\s*value: n1/)
  t.regex(text('logs/margay-node-x/agent.log'), /^agent is ready\nauthorization: Bearer <removed>\n.*"peer":"tor"/)
  const folder = join(dir, 'margay-diags')
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(each => each.endsWith('.yaml')))
    t.notThrows(() => parseYaml(text(name)), name)
  const items = (name: string): Loose[] => (parseYaml(text(name))[0] as { items: Loose[] }).items
  const [pod] = items('installation/pods.yaml')
  const [{ metadata: _metadata, spec: podSpec }] = LISTS['/api/v1/namespaces/kube-system/pods'] as [Loose]
  t.deepEqual(pod.spec.volumes, podSpec.volumes)
  t.deepEqual(Object.keys(pod.spec.containers[0]), Object.keys(podSpec.containers[0]))
  t.deepEqual(
    items('objects/bgppeers.yaml').map(({ spec }) => spec),
    [{ peerIP: '192.0.2.1', password: REMOVED }, { password: { secretKeyRef: { name: 'bgp-secret', key: 'rr' } } }],
  )
  const [{ data }] = items('installation/configmaps.yaml')
  t.regex(data['x.yaml'], /kept: yes\n$/)
  t.deepEqual(
    items('installation/events.yaml').map(({ message }) => message),
    [`pulled https://${REMOVED}@registry/`],
  )
  t.regex(text('summary.txt'), /objects\/ippools\.yaml: ok/)
  t.is((await runHere(args)).code, 2, 'a file that is there is not written over')
})

test('a server out of reach still leaves an archive that says so', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-diags-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'd.tar.gz')
  const { code } = await runHere([
    'cluster',
    'diags',
    '--file',
    file,
    '--server',
    'http://127.0.0.1:1',
    '--socket',
    '/none',
  ])
  t.is(code, 3)
  t.regex(gunzipSync(readFileSync(file)).toString(), /objects\/ippools\.yaml: cannot reach the API server/)
})

test('each form of a secret is removed from text, and what stands around it stays', t => {
  for (const [text, left] of [
    [`password=${SECRET} mtu=1400`, `password=${REMOVED} mtu=1400`],
    [`"nodeMeshPassword": "a \\"b\\" c", "x": 1`, `"nodeMeshPassword": ${REMOVED}, "x": 1`],
    [`client-key-data: QUJD`, `client-key-data: ${REMOVED}`],
    [`Authorization: Basic dXNlcjpwYXNz`, `Authorization: Basic ${REMOVED}`],
    [`--token-file /x --token abc def`, `--token-file /x --token ${REMOVED} def`],
    [`AWS_SECRET_ACCESS_KEY=${SECRET} x`, `AWS_SECRET_ACCESS_KEY=${REMOVED} x`],
    [`secretKey: ${SECRET}\nx: y`, `secretKey: ${REMOVED}\nx: y`],
    [`{"privateKey":"${SECRET}","md5Key":"a","x":1}`, `{"privateKey":${REMOVED},"md5Key":${REMOVED},"x":1}`],
    [`bgp_secret_key = ${SECRET}`, `bgp_secret_key = ${REMOVED}`],
    [`Authorization: Token ${SECRET}`, `Authorization: Token ${REMOVED}`],
    [`{"Authorization":"ApiKey ${SECRET}"}`, `{"Authorization":${REMOVED}}`],
    ['{"auth":"dXNlcjpwYXNz"}', `{"auth":${REMOVED}}`],
    ['.dockerconfigjson: eyJhdXRocyI6e30', `.dockerconfigjson: ${REMOVED}`],
    [`https://${SECRET}@host/x`, `https://${REMOVED}@host/x`],
    [`https://user:p@ss@host/x`, `https://${REMOVED}@host/x`],
    [`https://user:p/ss@host/x`, `https://${REMOVED}@host/x`],
    [`https://a:2379,https://u:p@b:2379`, `https://a:2379,https://${REMOVED}@b:2379`],
    ['pushed with ghp_abcdefghijklmnop to x', `pushed with ${REMOVED} to x`],
    [`curl -u admin:${SECRET} x`, `curl -u ${REMOVED} x`],
    [`password: |\n  ${SECRET}\n\n  more\nmtu: 1`, `password: ${REMOVED}\nmtu: 1`],
    [`- password: >-\n    ${SECRET}\n  mtu: 1`, `- password: ${REMOVED}\n  mtu: 1`],
    [`"x: 1\\npassword: |\\n  ${SECRET}"`, `"x: 1\\npassword: ${REMOVED}"`],
    [`tokens:\n- ${SECRET}\nmtu: 1`, `tokens:${REMOVED}\nmtu: 1`],
    [`key: QUJDREVGR0hJSktMTU5PUA==`, `key: ${REMOVED}`],
    ['key: node-role.kubernetes.io/control-plane', 'key: node-role.kubernetes.io/control-plane'],
    ['serviceAccountToken:\n  expirationSeconds: 3607', 'serviceAccountToken:\n  expirationSeconds: 3607'],
    ['https://10.0.0.1:6443/a@b, https://[fd00::1]:6443/', 'https://10.0.0.1:6443/a@b, https://[fd00::1]:6443/'],
    ['10.0.0.1:179 up, tokens: 3 left', '10.0.0.1:179 up, tokens: 3 left'],
    ['2026-01-01T00:00:00Z peer fd00::1 established', '2026-01-01T00:00:00Z peer fd00::1 established'],
  ] as const)
    t.is(textWithoutSecrets(text), left)
})

test('names of secrets, numbers and lists stay as they are', t => {
  const object = { secretName: 'tls', automountServiceAccountToken: false, tokens: [1, 2], data: { a: null } }
  t.deepEqual(withoutSecrets(object), object)
})

test('text without secrets takes twice the time for twice the text, whatever it repeats', t => {
  const pieces = [
    'a-',
    'a.',
    'eyJ-',
    'eyJaaaaa.',
    'a  ',
    'key: ',
    'token:[',
    'password="',
    'password:\n',
    '://u:',
    '--a-',
  ]
  for (const piece of pieces) {
    const timeOf = (repeats: number): number => {
      const text = piece.repeat(repeats)
      return Math.min(
        ...[1, 2, 3].map(() => {
          const startMs = performance.now()
          textWithoutSecrets(text)
          return performance.now() - startMs
        }),
      )
    }
    const [once, twice] = [timeOf(10_000), timeOf(20_000)]
    t.true(twice < 3 * once + 50, `${JSON.stringify(piece)}: ${once} ms, ${twice} ms`)
  }
})
