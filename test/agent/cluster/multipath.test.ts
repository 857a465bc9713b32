import test from 'ava'
import { askedMultipath } from '../../../agent/cluster/multipath.ts'
import { BGP_ANNOTATION } from '../../../api/core.ts'

const asked = (text: string) => askedMultipath({ annotations: { [BGP_ANNOTATION.multipath]: text } })
const USUAL = { paths: 16, of: 'either' } as const

test('without a word nodes use equal paths as BIRD in Calico does, and with off one', t => {
  for (const none of [askedMultipath(), askedMultipath({}), asked(''), asked(' ')])
    t.deepEqual(none, { multipath: USUAL })
  t.deepEqual(asked('off'), {})
})

test('each word changes one thing', t => {
  t.deepEqual(asked('paths=8 of=merge'), { multipath: { paths: 8, of: 'merge' } })
  t.deepEqual(asked(' of=ebgp '), { multipath: { ...USUAL, of: 'ebgp' } })
  t.deepEqual(asked('as-path=same  weights=link-bandwidth paths=64'), {
    multipath: { paths: 64, of: 'either', asPath: 'same', weights: 'link-bandwidth' },
  })
})

test('resilient asks for groups that keep flows where they are, with as many buckets as it says', t => {
  t.deepEqual(asked('resilient'), { multipath: USUAL, resilient: { buckets: 512, idleSeconds: 120 } })
  t.deepEqual(asked('resilient=64 paths=8'), {
    multipath: { ...USUAL, paths: 8 },
    resilient: { buckets: 64, idleSeconds: 120 },
  })
  t.deepEqual(asked('resilient=65535').resilient, { buckets: 65535, idleSeconds: 120 })
})

test('what makes no sense is told with what may be written, and nodes do as without it', t => {
  for (const [text, wrong] of [
    ['paths=0', /number of paths is not from 1 to 64/],
    ['paths=65 of=ebgp', /number of paths/],
    ['of=all', /of is none of ebgp, ibgp, either, merge/],
    ['of=', /of is none/],
    ['as-path=short', /as-path is none of length, same/],
    ['weights=equal', /weights is not link-bandwidth/],
    ['resilient=63', /number of buckets of resilient is not from 64 to 65535/],
    ['resilient=65536', /number of buckets/],
    ['resilient=', /number of buckets/],
    ['resilient=many', /number of buckets/],
    ['off resilient', /nothing is known of the word off/],
    ['off paths=8', /nothing is known of the word off/],
    ['fast', /nothing is known of the word fast, but of off, paths, of, as-path, weights and resilient/],
  ] as const) {
    const { multipath, resilient, fault } = asked(text)
    t.is(resilient, undefined, text)
    t.deepEqual(multipath, USUAL, text)
    t.like(fault, { type: 'PeersConfigured', reason: 'BadMultipath' }, text)
    t.regex(fault?.message ?? '', wrong, text)
    t.regex(fault?.remedy ?? '', /paths=8 of=ebgp\|ibgp\|either\|merge/)
  }
})
