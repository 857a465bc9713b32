// Why pods get no network on a node, by what its agent says of itself.
import test from 'ava'
import { type AskedNode, explainNode } from '../../explain/node.ts'

const told = (type: string, status: 'False' | 'Unknown', reason: string) => ({
  ...{ type, status, reason, message: `${reason} it is`, remedy: 'put it right' },
})
const asked = (...conditions: ReturnType<typeof told>[]): AskedNode => ({
  node: 'n2',
  ms: 3,
  conditions,
  isKnown: true,
})

test('a node with nothing to say against itself passes', t => {
  t.like(explainNode(asked()), { verdict: 'passes', first: undefined, others: [] })
})

test('an agent that is away is the cause, with how to start it; one that is only silent is none', t => {
  const away = explainNode({ node: 'n2', ms: 0, silent: 'nobody listens', away: true })
  t.like(away, { verdict: 'stopped', first: { code: 'AgentSilent', node: 'n2' } })
  t.true(away.first!.remedy.includes('start the agent of n2'))
  t.like(explainNode({ node: 'n2', ms: 0, silent: 'no answer in 10 s', away: false }), {
    verdict: 'unknown',
    first: undefined,
  })
})

test('pools that give nothing are a cause of their own, with the remedy of the condition', t => {
  const found = explainNode(asked(told('PoolsUsable', 'False', 'AllDisabled')))
  t.like(found.first, { code: 'PoolUnusable', remedy: 'put it right' })
})

test('a Node object that is gone is told once, whether the node says it or the server', t => {
  t.is(explainNode({ ...asked(), isKnown: false }).first?.code, 'NodeUnknown')
  const both = explainNode({ ...asked(told('NodeObjectKnown', 'False', 'NotFound')), isKnown: false })
  t.is(both.first?.code, 'NodeUnknown')
  t.deepEqual(both.others, [])
})

test('vital conditions of running pods come before those of new ones; what is not vital is a note', t => {
  const found = explainNode(
    asked(
      told('PoolsUsable', 'False', 'AllDisabled'),
      told('AddressesLeft', 'False', 'PoolsFull'),
      told('KernelProgrammed', 'False', 'NotYet'),
    ),
  )
  t.is(found.first?.code, 'ConditionBroken')
  t.true(found.first!.message.includes('KernelProgrammed'))
  t.deepEqual(
    found.others.map(({ code }) => code),
    ['PoolUnusable'],
  )
  t.deepEqual(
    found.notes.map(({ text }) => text),
    ['AddressesLeft is False (PoolsFull): PoolsFull it is'],
  )
})

test('a vital condition of which nothing is known leaves it open, and one of a later version is a note', t => {
  t.is(explainNode(asked(told('PoolsUsable', 'Unknown', 'NotSeen'))).verdict, 'unknown')
  t.is(explainNode(asked(told('OfTomorrow', 'False', 'New'))).verdict, 'passes')
})
