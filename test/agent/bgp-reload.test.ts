// What a reload would do, told for a person before it is done.
import test from 'ava'
import { reloadPlan } from '../../agent/bgp-reload.ts'
import type { PeerConfig } from '../../bgp/config.ts'
import type { ConfigFile } from '../../bgp/file/types.ts'

function aFile(part: Partial<ConfigFile>): ConfigFile {
  const speaker = { asn: 65001, routerId: '192.0.2.1' }
  return {
    speaker,
    listen: [],
    kernel: 'none',
    nextHops: 'none',
    peers: [],
    networks: [],
    drain: false,
    bmp: [],
    ...part,
  }
}

const peer = (name: string, port = 179): PeerConfig => ({
  name,
  address: `192.0.2.${name}`,
  asn: 65002,
  port,
})

/** Says that a peer with port 30 is reset. */
const speaker = { plan: ({ port }: PeerConfig) => (port === 30 ? ['another port'] : []) }

test('the same file again does nothing, whatever order it is in', t => {
  const networks = [{ prefix: '203.0.113.0/24' }, { prefix: '198.51.100.0/24' }]
  const peers = [peer('2'), peer('3')]
  const nothing = {
    resets: [],
    added: [],
    removed: [],
    changed: [],
    multipath: false,
    networks: { announced: [], withdrawn: [] },
  }
  const other = aFile({ peers: peers.toReversed(), networks: networks.toReversed() })
  t.deepEqual(reloadPlan(aFile({ peers, networks }), other, speaker), nothing)
})

test('peers that come, go and change are told apart, and of the changed ones those that are reset, with the reason', t => {
  const old = aFile({ peers: [peer('2'), peer('3'), peer('4'), peer('5', 60)] })
  const next = aFile({ peers: [peer('3'), peer('4', 30), peer('5'), peer('6', 30)] })
  const { added, removed, changed, resets } = reloadPlan(old, next, speaker)
  t.deepEqual({ added, removed, changed }, { added: ['6'], removed: ['2'], changed: ['4', '5'] })
  t.deepEqual(resets, [{ peer: '4', because: ['another port'] }])
})

test('a drain that begins or ends is told', t => {
  t.is(reloadPlan(aFile({}), aFile({ drain: true }), speaker).drain, 'begins')
  t.is(reloadPlan(aFile({ drain: true }), aFile({}), speaker).drain, 'ends')
})

test('a network with another attribute is announced again and not withdrawn', t => {
  const old = aFile({ networks: [{ prefix: '203.0.113.0/24', med: 1 }, { prefix: '198.51.100.0/24' }] })
  const next = aFile({ networks: [{ prefix: '203.0.113.0/24', med: 2 }, { prefix: '192.0.2.0/24' }] })
  t.deepEqual(reloadPlan(old, next, speaker).networks, {
    announced: ['203.0.113.0/24', '192.0.2.0/24'],
    withdrawn: ['198.51.100.0/24'],
  })
})
