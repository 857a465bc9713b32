import test from 'ava'
import { KernelReady } from '../../agent/kernel-ready.ts'
import { ApplyError, type Refusal } from '../../kernel/reconcile/outcome.ts'
import { ManualClock } from '../../lib/clock.ts'

const turns = async () => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
}

/** A felix whose passes are refused this, one list per pass. */
function aReady(...passes: (Pick<Refusal, 'kind' | 'interfaceName'> & Partial<Pick<Refusal, 'reason'>>)[][]) {
  const clock = new ManualClock()
  const felix = {
    async applied() {
      const refused = passes.shift() ?? []
      const whole = refused.map(each => ({ key: 'k', reason: 'Refused' as const, message: 'no', ...each }))
      if (whole.length > 0) throw new ApplyError(whole)
    },
  }
  let changes = 0
  const ready = new KernelReady({ felix, clock, interfacePrefix: 'cali', changed: () => changes++ })
  return { ready, clock, changes: () => changes }
}

test('a node is not ready before it was asked, and then when nothing is refused', async t => {
  const { ready, changes } = aReady()
  t.like(ready.refused()[0], { type: 'KernelProgrammed', status: 'Unknown' })
  ready.ask()
  await turns()
  t.deepEqual(ready.refused(), [])
  t.is(changes(), 1)
})

test('what leads to another node, and what single policies want, keeps this one from nothing', async t => {
  const { ready } = aReady([
    { kind: 'route', interfaceName: 'eth0' },
    { kind: 'route', interfaceName: 'tunl0' },
    { kind: 'neighbour', interfaceName: 'vxlan.calico' },
    { kind: 'fdb', interfaceName: 'vxlan.calico' },
    { kind: 'nftElement' },
    { kind: 'nftSet' },
    { kind: 'nftChain' },
  ])
  ready.ask()
  await turns()
  t.deepEqual(ready.refused(), [])
})

test('a pod that deleted its own interface does not keep the node from being ready', async t => {
  const { ready } = aReady([
    { kind: 'sysctl', interfaceName: 'cali1' },
    { kind: 'link', interfaceName: 'cali1', reason: 'NoInterface' },
    { kind: 'route', interfaceName: 'cali1', reason: 'NoInterface' },
  ])
  ready.ask()
  await turns()
  t.deepEqual(ready.refused(), [])
})

for (const own of [
  { kind: 'nftTable' },
  { kind: 'nftElement', interfaceName: 'cali1' },
  { kind: 'route', interfaceName: 'cali1' },
  { kind: 'route' },
  { kind: 'neighbour', interfaceName: 'cali1' },
  { kind: 'link', interfaceName: 'vxlan.calico' },
  { kind: 'address', interfaceName: 'lo' },
  { kind: 'sysctl' },
] as const)
  test(`a refused ${own.kind} on ${'interfaceName' in own ? own.interfaceName : 'no interface'} is this node's own, and is asked for again`, async t => {
    const { ready, clock } = aReady([own], [own])
    ready.ask()
    await turns()
    t.is(ready.refused().length, 1)
    clock.advance(500)
    await turns()
    t.is(ready.refused().length, 1)
    clock.advance(500)
    await turns()
    t.deepEqual(ready.refused(), [])
  })

test('closed, it asks no more', async t => {
  const { ready, clock, changes } = aReady([{ kind: 'sysctl' }])
  ready.ask()
  await turns()
  ready.close()
  t.is(clock.pending, 0)
  t.is(changes(), 0)
})
