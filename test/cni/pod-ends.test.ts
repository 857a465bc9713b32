// Which pod's interface an index in a numbered namespace is.
import test from 'ava'
import { PodEnds } from '../../cni/pod-ends.ts'
import type { Link } from '../../kernel/port/links.ts'

const end = (name: string, peer: number, peerNetnsId: number | undefined, mtu = 1500): Link => ({
  ...{ index: 10, name, kind: 'veth', mtu, up: true, running: true, peer },
  ...(peerNetnsId !== undefined && { peerNetnsId }),
})

test('a pair is found by its far end as long as it is there, with the MTU that it has now', t => {
  const ends = new PodEnds()
  ends.saw(end('cali1', 2, 0))
  ends.saw(end('cali2', 3, 0))
  ends.saw(end('veth9', 4, 0))
  t.is(ends.at(0, 2)?.name, 'cali1')
  t.deepEqual(
    [...ends.into(0)].map(({ name }) => name),
    ['cali1', 'cali2'],
  )
  t.is(ends.at(0, 4), undefined, 'no interface of a pod')
  ends.saw(end('cali1', 2, 0, 1400))
  t.is(ends.at(0, 2)?.mtu, 1400)
  ends.gone('cali1')
  t.is(ends.at(0, 2), undefined)
  ends.saw(end('cali2', 3, undefined))
  t.deepEqual([...ends.into(0)], [], 'it is in this namespace by now')
})

test('a number that is given again is the new pod’s, whichever is told first', t => {
  const ends = new PodEnds()
  ends.saw(end('cali1', 2, 0))
  ends.saw(end('cali2', 2, 0))
  ends.gone('cali1')
  t.is(ends.at(0, 2)?.name, 'cali2')
  ends.gone('cali2')
  t.is(ends.at(0, 2), undefined)
})
