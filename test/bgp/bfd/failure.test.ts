import test from 'ava'
import type { BfdChange } from '../../../bgp/bfd/config.ts'
import { isPathFailure } from '../../../bgp/bfd/failure.ts'
import type { BfdState } from '../../../bgp/bfd/packet.ts'

const states: readonly BfdState[] = ['AdminDown', 'Down', 'Init', 'Up']

function change(from: BfdState, to: BfdState, said: BfdState, controlPlaneIndependent = false): BfdChange {
  const remote = { state: said, diagnostic: 'none' as const, discriminator: 2, demand: false, controlPlaneIndependent }
  return { name: 's', from, to, diagnostic: 'none', remote, neighborRestarted: false, detectionTimeMs: 900, atMs: 0 }
}

test('a path has failed when its session goes from Up to Down, and in no other case', t => {
  for (const from of states)
    for (const to of states)
      t.is(
        isPathFailure(change(from, to, 'Up'), { restarting: false }),
        from === 'Up' && to === 'Down',
        `${from} ${to}`,
      )
})

test('a session that either end takes down for administrative reasons says nothing about the path', t => {
  t.false(isPathFailure(change('Up', 'AdminDown', 'Up'), { restarting: false }))
  t.false(isPathFailure(change('Up', 'Down', 'AdminDown'), { restarting: false }))
  t.true(isPathFailure(change('Up', 'Down', 'Down'), { restarting: false }))
})

test('while the neighbour restarts gracefully only a session that outlives its control plane tells of the path', t => {
  t.false(isPathFailure(change('Up', 'Down', 'Up', false), { restarting: true }))
  t.true(isPathFailure(change('Up', 'Down', 'Up', true), { restarting: true }))
  t.true(isPathFailure(change('Up', 'Down', 'Up', false), { restarting: false }))
})

test('a neighbour that has begun another session has started anew, and its path is good', t => {
  for (const said of ['Down', 'Init'] as const)
    t.false(isPathFailure({ ...change('Up', 'Down', said), neighborRestarted: true }, { restarting: false }))
})
