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

test('what makes no sense is told with what may be written, and nodes do as without it', t => {
  for (const [text, wrong] of [
    ['paths=0', /number of paths is not from 1 to 64/],
    ['paths=65 of=ebgp', /number of paths/],
    ['of=all', /of is none of ebgp, ibgp, either, merge/],
    ['of=', /of is none/],
    ['as-path=short', /as-path is none of length, same/],
    ['weights=equal', /weights is not link-bandwidth/],
    ['off paths=8', /nothing is known of the word off/],
    ['fast', /nothing is known of the word fast, but of off, paths, of, as-path and weights/],
  ] as const) {
    const { multipath, fault } = asked(text)
    t.deepEqual(multipath, USUAL, text)
    t.like(fault, { type: 'PeersConfigured', reason: 'BadMultipath' }, text)
    t.regex(fault?.message ?? '', wrong, text)
    t.regex(fault?.remedy ?? '', /paths=8 of=ebgp\|ibgp\|either\|merge/)
  }
})
