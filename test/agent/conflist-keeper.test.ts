import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ConflistKeeper } from '../../agent/conflist-keeper.ts'
import type { Condition } from '../../api/status.ts'
import { conflistText } from '../../cni/conflist.ts'
import { ManualClock } from '../../lib/clock.ts'

const OURS = conflistText({ network: 'margay', socket: '/run/margay/agent.sock', chained: [] })
const FOREIGN = JSON.stringify({ cniVersion: '1.0.0', name: 'other', plugins: [{ type: 'ptp' }] })

function aKeeper(t: ExecutionContext, files: Record<string, string> = { '10-margay.conflist': OURS }) {
  const confDir = mkdtempSync(join(tmpdir(), 'margay-keeper-'))
  t.teardown(() => rmSync(confDir, { recursive: true, force: true }))
  const path = join(confDir, '10-margay.conflist')
  const put = (name: string, text: string) => writeFileSync(join(confDir, name), text)
  for (const [name, text] of Object.entries(files)) put(name, text)
  const clock = new ManualClock()
  const healed: string[] = []
  let conditions: readonly Condition[] = []
  let changed = (): void => undefined
  const begin = () => {
    const keeper = new ConflistKeeper({
      ...{ confDir, confName: '10-margay.conflist', copy: `${confDir}/copy/conflist`, clock },
      report: now => {
        conditions = now
      },
      healed: message => healed.push(message),
      follow: (_folder, call) => {
        changed = call
        return () => undefined
      },
    })
    keeper.start()
    t.teardown(() => keeper.close())
    return keeper
  }
  const after = (ms: number) => {
    changed()
    clock.advance(ms)
  }
  return { clock, confDir, path, put, healed, begin, after, reason: () => conditions[0]?.reason }
}

test('a configuration that was deleted is put back within a second, and that is told', t => {
  const { path, begin, after, healed, reason } = aKeeper(t)
  begin()
  t.is(reason(), 'Ok')
  rmSync(path)
  after(100)
  t.deepEqual([reason(), existsSync(path)], ['Missing', false])
  after(1000)
  t.is(readFileSync(path, 'utf8'), OURS)
  t.deepEqual([reason(), healed.length], ['Ok', 1])
})

test('half a configuration is replaced by the whole one', t => {
  const { path, begin, after } = aKeeper(t)
  begin()
  writeFileSync(path, OURS.slice(0, 50))
  after(2000)
  t.is(readFileSync(path, 'utf8'), OURS)
})

test('what an operator changed in the configuration stays, and is what is put back', t => {
  const { path, begin, after } = aKeeper(t)
  begin()
  const edited = conflistText({ network: 'edited', socket: '/run/margay/agent.sock', chained: ['portmap'] })
  writeFileSync(path, edited)
  after(1000)
  rmSync(path)
  after(100)
  after(1000)
  t.is(readFileSync(path, 'utf8'), edited)
})

test('an agent that starts after the deletion puts back what an earlier one saw', t => {
  const { path, begin, after } = aKeeper(t)
  begin().close()
  rmSync(path)
  begin()
  after(1000)
  t.is(readFileSync(path, 'utf8'), OURS)
})

test('where ours went and another network came, or lies under our name, nothing is written', t => {
  for (const name of ['20-other.conflist', '10-margay.conflist']) {
    const { path, confDir, put, begin, after, healed, reason } = aKeeper(t)
    begin()
    rmSync(path)
    put(name, FOREIGN)
    after(100)
    after(20_000)
    t.is(reason(), name === '20-other.conflist' ? 'OtherNetwork' : 'Replaced')
    t.deepEqual(
      readdirSync(confDir).filter(each => each !== 'copy'),
      [name],
    )
    t.deepEqual(healed, [])
  }
})

test('a network that stood beside ours before does not keep ours from being put back, and one before it is told', t => {
  const { path, begin, after, reason } = aKeeper(t, { '10-margay.conflist': OURS, '05-other.conflist': FOREIGN })
  begin()
  t.is(reason(), 'OtherNetworkFirst')
  rmSync(path)
  after(100)
  after(1000)
  t.is(readFileSync(path, 'utf8'), OURS)
})

test('a folder that cannot be read, and a configuration that was never there, are told', t => {
  const { confDir, begin, after, reason } = aKeeper(t, {})
  begin()
  t.is(reason(), 'Missing')
  after(1000)
  t.is(reason(), 'Missing')
  rmSync(confDir, { recursive: true })
  writeFileSync(confDir, '')
  after(20_000)
  t.is(reason(), 'NotKept')
})

test('a deletion is noticed without a word of the kernel too', t => {
  const { path, begin, clock } = aKeeper(t)
  begin()
  rmSync(path)
  clock.advance(11_000)
  t.is(readFileSync(path, 'utf8'), OURS)
})
