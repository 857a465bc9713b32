// Secrets by name: what is watched, what is told of each key, and what of it is left on disk for a start without an API server.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { BgpSecrets } from '../../agent/bgp-secrets.ts'
import type { Resource } from '../../api/kinds.ts'
import type { Condition } from '../../api/status.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { Refused, type Store, Unreachable, type WatchHandlers, type WatchOptions } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

const rack = { name: 'bgp', key: 'rack' }
const core = { name: 'bgp', key: 'core' }
const FILE = 'bgp-secrets'

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-bgp-secrets-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const aSecret = (values: Record<string, string>, name = 'bgp', namespace = 'kube-system'): Resource<'Secret'> => ({
  metadata: { name, namespace },
  type: 'Opaque',
  data: Object.fromEntries(Object.entries(values).map(([key, text]) => [key, Buffer.from(text).toString('base64')])),
})

type Opened = { name: string; handlers: WatchHandlers<'Secret'>; options: WatchOptions<'Secret'>; closed: boolean }

/** A store whose watches the test plays. */
function aServer() {
  const opened: Opened[] = []
  const watch = ((kind: string, handlers: WatchHandlers<'Secret'>, options: WatchOptions<'Secret'>) => {
    if (kind !== 'Secret') throw new Error(kind)
    const one: Opened = { name: options.fieldSelector!.split('=')[1]!, handlers, options, closed: false }
    opened.push(one)
    const close = () => {
      one.closed = true
    }
    return { close, hurry: () => undefined }
  }) as unknown as Store['watch']
  const open = () => opened.filter(({ closed }) => !closed)
  return {
    store: { watch },
    open,
    says: (items: Resource<'Secret'>[]) => open()[0]!.handlers.event({ type: 'sync', items, resourceVersion: '1' }),
    fails: (cause: Error) => open()[0]!.handlers.connection!({ connected: false, cause }),
  }
}

function start(dataDir: string, store: Pick<Store, 'watch'>, isBelieved = () => true) {
  const clock = new ManualClock()
  const told: string[] = []
  let conditions: readonly Condition[] = []
  let checks = 0
  const secrets = new BgpSecrets({
    ...{ store, namespace: 'kube-system', dataDir, clock, log: silentLog, isBelieved },
    check: () => void checks++,
    report: now => {
      conditions = now
    },
  })
  secrets.onChange(({ name, key }, password) => {
    const is = password === undefined ? 'gone' : 'text' in password ? password.text : password.missing.reason
    told.push(`${name}/${key}: ${is}`)
  })
  return { secrets, clock, told: () => told.splice(0), conditions: () => conditions, checks: () => checks }
}

const turns = async () => {
  for (let i = 0; i < 10; i++) await new Promise(setImmediate)
}

test('each Secret is watched once, by its name and in the namespace of the agents, and no longer than it is named', t => {
  const server = aServer()
  const { secrets } = start(folder(t), server.store)
  secrets.want([rack])
  secrets.want([rack, core, { name: 'other', key: 'k' }])
  t.deepEqual(
    server.open().map(({ name, options }) => [name, options.namespace, options.fieldSelector]),
    [
      ['bgp', 'kube-system', 'metadata.name=bgp'],
      ['other', 'kube-system', 'metadata.name=other'],
    ],
  )
  secrets.want([core])
  t.deepEqual(
    server.open().map(({ name }) => name),
    ['bgp'],
  )
  secrets.want([])
  t.deepEqual(server.open(), [])
  secrets.want([rack])
  secrets.close()
  t.deepEqual(server.open(), [])
})

test('every change of a value, of a key and of the Secret is told, and of a key that is not named nothing', async t => {
  const store = createFakeStore()
  const { secrets, told } = start(folder(t), store)
  secrets.want([rack])
  t.deepEqual(told(), [], 'it is being read')
  await turns()
  t.deepEqual(told(), ['bgp/rack: NoSecret'])
  await store.create('Secret', aSecret({ rack: 'one', hidden: 'x' }))
  await store.create('Secret', aSecret({ rack: 'of others' }, 'bgp', 'default'))
  await turns()
  t.deepEqual(told(), ['bgp/rack: one'])
  await store.patch('Secret', 'bgp', { data: aSecret({ rack: 'two', hidden: 'y' }).data }, { namespace: 'kube-system' })
  await turns()
  t.is(told().at(-1), 'bgp/rack: two')
  await store.patch('Secret', 'bgp', { data: { hidden: 'eg==' } }, { namespace: 'kube-system' })
  await turns()
  t.deepEqual(told(), [])
  await store.patch('Secret', 'bgp', { data: { rack: null } }, { namespace: 'kube-system' })
  await turns()
  t.deepEqual(told(), ['bgp/rack: NoKey'])
  await store.delete('Secret', 'bgp', { namespace: 'kube-system' })
  await turns()
  t.deepEqual(told(), ['bgp/rack: NoSecret'])
  secrets.want([])
  t.deepEqual(told(), ['bgp/rack: gone'])
})

test('a start without an API server has the passwords of the last run, from one file that this user alone can read', t => {
  const dir = folder(t)
  const first = aServer()
  const before = start(dir, first.store)
  before.secrets.want([rack, core])
  first.says([aSecret({ rack: 'one', core: 'two', hidden: 'three' })])
  before.secrets.close()
  t.is(statSync(join(dir, FILE)).mode & 0o777, 0o600)
  t.false(readFileSync(join(dir, FILE), 'utf8').includes('three'), 'what nobody names is not kept')
  const second = aServer()
  const { secrets, told } = start(dir, second.store)
  secrets.want([rack, core])
  t.deepEqual(told(), ['bgp/rack: one', 'bgp/core: two'])
  second.fails(new Unreachable('refused'))
  t.deepEqual(told(), [])
  second.says([aSecret({ rack: 'new' })])
  t.deepEqual(told(), ['bgp/rack: new', 'bgp/core: NoKey'])
  t.false(readFileSync(join(dir, FILE), 'utf8').includes('two'))
  secrets.want([])
  t.false(existsSync(join(dir, FILE)), 'nothing is kept that nobody names')
})

test('a server that does not answer within two seconds is told, and its answer counts whenever it comes', t => {
  const server = aServer()
  const { secrets, clock, told } = start(folder(t), server.store)
  secrets.want([rack])
  clock.advance(1999)
  t.deepEqual(told(), [])
  clock.advance(1)
  t.deepEqual(told(), ['bgp/rack: SecretNotRead'])
  server.says([aSecret({ rack: 'one' })])
  t.deepEqual(told(), ['bgp/rack: one'])
})

test('a file that is damaged, or of another namespace, says nothing and goes with the next write', t => {
  const dir = folder(t)
  for (const text of [
    '{',
    '[]',
    '{"namespace":"other","secrets":{"bgp":{"rack":"one"}}}',
    '{"namespace":"kube-system"}',
  ]) {
    writeFileSync(join(dir, FILE), text)
    const { secrets, told } = start(dir, aServer().store)
    secrets.want([rack])
    t.deepEqual(told(), [], text)
    t.false(existsSync(join(dir, FILE)))
  }
})

test('a Secret that this agent may not read closes its session with the commands that give the right', t => {
  const server = aServer()
  const { secrets, told, conditions } = start(folder(t), server.store)
  let cause = ''
  secrets.onChange((_secret, password) => {
    if (password !== undefined && 'missing' in password)
      cause = `${password.missing.message} ${password.missing.remedy}`
  })
  secrets.want([rack])
  server.fails(new Refused(403, 'secrets "bgp" is forbidden'))
  t.regex(cause, /does not let this agent read Secret kube-system\/bgp/)
  t.regex(cause, /create role margay-bgp-bgp --verb=list,watch --resource=secrets --resource-name=bgp/)
  t.regex(cause, /create rolebinding margay-bgp-bgp --role=margay-bgp-bgp --serviceaccount=kube-system:margay-node/)
  t.deepEqual([told(), conditions()], [[], []])
})

test('a right that is taken away leaves the sessions their password, and is told', t => {
  const server = aServer()
  const { secrets, told, conditions } = start(folder(t), server.store)
  secrets.want([rack])
  server.says([aSecret({ rack: 'one' })])
  told()
  server.fails(new Refused(403, 'secrets "bgp" is forbidden'))
  t.deepEqual(told(), [])
  t.is(conditions().length, 1)
  t.like(conditions()[0], { type: 'ApiServerConnected', reason: 'Forbidden', object: { kind: 'Secret', name: 'bgp' } })
  t.regex(conditions()[0]!.message, /sessions go on with the password that was read last$/)
  server.open()[0]!.handlers.connection!({ connected: true })
  t.deepEqual(conditions(), [])
})

test('what an API server says that is not believed counts once it is', t => {
  const server = aServer()
  let isBelieved = true
  const { secrets, told } = start(folder(t), server.store, () => isBelieved)
  secrets.want([rack])
  server.says([aSecret({ rack: 'one' })])
  told()
  isBelieved = false
  server.says([])
  secrets.want([rack])
  t.deepEqual(told(), [])
  isBelieved = true
  secrets.want([rack])
  t.deepEqual(told(), ['bgp/rack: NoSecret'])
})

test('a node watches 100 Secrets and no more, and a name that no object can have is not asked for', t => {
  const server = aServer()
  const { secrets, told } = start(folder(t), server.store)
  const many = Array.from({ length: 101 }, (_, i) => ({ name: `s${i}`, key: 'k' }))
  secrets.want(many)
  t.is(server.open().length, 100)
  t.deepEqual(told(), ['s100/k: TooManySecrets'])
  secrets.want(many.slice(1))
  t.deepEqual(told(), ['s100/k: gone'], 'it is being read')
  secrets.want([
    { name: 'a,metadata.namespace=x', key: 'k' },
    { name: '', key: '' },
    { name: 'x', key: 'a/b' },
  ])
  t.deepEqual(
    told()
      .filter(text => !text.endsWith('gone'))
      .map(text => text.split(': ')[1]),
    ['NoSecret', 'NoSecret', 'NoSecret'],
  )
  t.deepEqual(
    server.open().map(({ name }) => name),
    ['x'],
  )
})

test('a password that the disk does not take is told without a word of it, and written when the disk takes it', t => {
  const dir = join(folder(t), 'missing')
  const server = aServer()
  const { secrets, clock, conditions, checks } = start(dir, server.store)
  secrets.want([rack])
  server.says([aSecret({ rack: 'planted' })])
  t.like(conditions()[0], { type: 'JournalKept', reason: 'PasswordNotKept', object: { kind: 'Secret', name: 'bgp' } })
  t.false(JSON.stringify(conditions()).includes('planted'))
  mkdirSync(dir)
  const before = checks()
  clock.advance(10_000)
  t.deepEqual(conditions(), [])
  t.true(readFileSync(join(dir, FILE), 'utf8').includes('planted'))
  t.true(checks() > before, 'a write asks whether the directory is still ours')
})
