// The encapsulation matrix, row by row: pool mode, where the next hop lies, what the far node announced, what we have.
import test from 'ava'
import { chooseWay, type Way, type WayInput } from '../../felix/calc/encapsulation.ts'

type Mode = 'Never' | 'Always' | 'CrossSubnet'

const NONE: readonly number[] = []
const IPIP = [7]
const VXLAN = [8]
const BOTH = [7, 8]
const OTHER = [1]

const ALL = { ipip: true, vxlan: true, vxlanAddress: true }
const NO_IPIP = { ...ALL, ipip: false }
const NO_VXLAN = { ...ALL, vxlan: false }

const direct: Way = { way: 'direct' }
const ipip: Way = { way: 'ipip' }
const vxlan: Way = { way: 'vxlan' }
const none = (reason: string, missing?: 'here' | 'there') =>
  missing ? { way: 'none', reason, missing } : { way: 'none', reason }

/** [ipip mode, vxlan mode, next hop in own subnet, announced, own, answer] */
const rows: readonly [Mode, Mode, boolean, readonly number[], typeof ALL, unknown][] = [
  ['Never', 'Never', true, NONE, ALL, direct],
  ['Never', 'Never', true, OTHER, NO_IPIP, direct],
  ['Never', 'Never', false, BOTH, ALL, none('NextHopNotOnLink')],

  ['CrossSubnet', 'Never', true, NONE, ALL, direct],
  ['CrossSubnet', 'Never', true, VXLAN, NO_IPIP, direct],
  ['CrossSubnet', 'Never', false, NONE, ALL, ipip],
  ['CrossSubnet', 'Never', false, IPIP, ALL, ipip],
  ['CrossSubnet', 'Never', false, BOTH, ALL, ipip],
  ['CrossSubnet', 'Never', false, VXLAN, ALL, { way: 'vxlan', instead: 'there' }],
  ['CrossSubnet', 'Never', false, NONE, NO_IPIP, { way: 'vxlan', instead: 'here' }],
  ['CrossSubnet', 'Never', false, BOTH, NO_IPIP, { way: 'vxlan', instead: 'here' }],
  ['CrossSubnet', 'Never', false, VXLAN, NO_IPIP, { way: 'vxlan', instead: 'here' }],
  ['CrossSubnet', 'Never', false, IPIP, NO_IPIP, none('NoCommonEncapsulation', 'there')],
  ['CrossSubnet', 'Never', false, VXLAN, NO_VXLAN, none('NoCommonEncapsulation', 'here')],
  ['CrossSubnet', 'Never', false, OTHER, ALL, none('NoCommonEncapsulation', 'there')],
  ['Always', 'Never', true, NONE, ALL, ipip],
  ['Always', 'Never', false, IPIP, NO_VXLAN, ipip],
  ['Always', 'Never', true, VXLAN, ALL, { way: 'vxlan', instead: 'there' }],

  ['Never', 'CrossSubnet', true, NONE, ALL, direct],
  ['Never', 'CrossSubnet', true, IPIP, NO_VXLAN, direct],
  ['Never', 'CrossSubnet', false, NONE, ALL, vxlan],
  ['Never', 'CrossSubnet', false, VXLAN, NO_IPIP, vxlan],
  ['Never', 'CrossSubnet', false, BOTH, ALL, vxlan],
  ['Never', 'CrossSubnet', false, IPIP, ALL, none('NoCommonEncapsulation', 'there')],
  ['Never', 'CrossSubnet', false, NONE, NO_VXLAN, none('NoCommonEncapsulation', 'here')],
  ['Never', 'Always', true, NONE, ALL, vxlan],
  ['Never', 'Always', true, BOTH, NO_IPIP, vxlan],
  ['Never', 'Always', false, NONE, { ...ALL, vxlanAddress: false }, none('TunnelAddressMissing')],
]

for (const [ipipMode, vxlanMode, onLink, announced, own, answer] of rows) {
  const lacks = Object.entries(own).flatMap(([what, has]) => (has ? [] : [what]))
  const where = onLink ? 'in the own subnet' : 'behind a router'
  const title = `ipip ${ipipMode}, vxlan ${vxlanMode}, next hop ${where}, announced [${announced}], lacking [${lacks}]: ${JSON.stringify(answer)}`
  test(title, t => {
    t.deepEqual(
      chooseWay(question({ pool: { ipip: ipipMode, vxlan: vxlanMode }, onLink, announced, own })) as unknown,
      answer,
    )
  })
}

test('a route outside every pool goes direct, or nowhere when its next hop is not on the link', t => {
  t.deepEqual(chooseWay(question({ pool: undefined, onLink: true })), direct)
  t.deepEqual(chooseWay(question({ pool: undefined, onLink: false })) as unknown, none('NextHopNotOnLink'))
})

test('by another interface a next hop is reached directly where no tunnel is asked for, while that interface is up', t => {
  for (const pool of [undefined, { ipip: 'Never', vxlan: 'Never' } as const]) {
    t.deepEqual(chooseWay(question({ pool, onLink: false, beside: 'up' })), direct)
    t.deepEqual(chooseWay(question({ pool, onLink: false, beside: 'down' })) as unknown, none('NextHopLinkDown'))
  }
  const pool = { ipip: 'CrossSubnet', vxlan: 'Never' } as const
  for (const beside of ['up', 'down'] as const) t.deepEqual(chooseWay(question({ pool, onLink: false, beside })), ipip)
})

test('a next hop to which a route leads is reached by it where no tunnel is asked for, also when its own interface is down', t => {
  for (const pool of [undefined, { ipip: 'Never', vxlan: 'Never' } as const]) {
    t.deepEqual(chooseWay(question({ pool, onLink: false, routed: true })), direct)
    t.deepEqual(chooseWay(question({ pool, onLink: false, beside: 'down', routed: true })), direct)
  }
  const pool = { ipip: 'CrossSubnet', vxlan: 'Never' } as const
  t.deepEqual(chooseWay(question({ pool, onLink: false, routed: true })), ipip)
})

test('VXLAN waits for the far VTEP, IP-in-IP does not', t => {
  const far = { onLink: false, farVtep: false }
  t.deepEqual(chooseWay(question({ ...far, pool: { ipip: 'Never', vxlan: 'Always' } })) as unknown, none('VtepUnknown'))
  t.deepEqual(chooseWay(question({ ...far, pool: { ipip: 'Always', vxlan: 'Never' } })), ipip)
})

test('an IPv6 block goes direct or through VXLAN, which needs no tunnel address for it, and never through IP-in-IP', t => {
  const ask = (part: Partial<WayInput>) => chooseWay(question({ family: 'ipv6', ...part })) as unknown
  const pool = { ipip: 'Never', vxlan: 'CrossSubnet' } as const
  t.deepEqual(ask({ pool, onLink: true }), direct)
  t.deepEqual(ask({ pool, onLink: false, own: { ...ALL, vxlanAddress: false } }), vxlan)
  t.deepEqual(ask({ pool: { ...pool, vxlan: 'Always' }, onLink: true }), vxlan)
  t.deepEqual(ask({ pool, onLink: false, farVtep: false }), none('VtepUnknown'))
  t.deepEqual(ask({ pool, onLink: false, own: NO_VXLAN }), none('NoCommonEncapsulation', 'here'))
  t.deepEqual(ask({ pool, onLink: false, announced: IPIP }), none('NoCommonEncapsulation', 'there'))
  t.deepEqual(ask({ pool: { ipip: 'Always', vxlan: 'Never' }, onLink: true }), none('NoIpv6Tunnel'))
})

test('where a tunnel was asked for, no combination gives a route without a tunnel', t => {
  const modes = ['Never', 'Always', 'CrossSubnet'] as const
  const flags = [true, false]
  let asked = 0
  for (const ipipMode of modes)
    for (const vxlanMode of modes)
      for (const [onLink, routed] of [
        [true, false],
        [false, false],
        [false, true],
      ] as const)
        for (const announced of [NONE, IPIP, VXLAN, BOTH, OTHER])
          for (const own of [ALL, NO_IPIP, NO_VXLAN, { ...NO_IPIP, vxlan: false }])
            for (const farVtep of flags) {
              const pool = { ipip: ipipMode, vxlan: vxlanMode }
              const { way } = chooseWay(question({ pool, onLink, routed, announced, own, farVtep }))
              const mode = ipipMode === 'Never' ? vxlanMode : ipipMode
              const tunnel = mode === 'Always' || (mode === 'CrossSubnet' && !onLink)
              if (!tunnel) continue
              asked++
              t.not(way, 'direct')
              if (way === 'ipip') t.true(own.ipip && ipipMode !== 'Never')
              if (way === 'vxlan') t.true(own.vxlan && farVtep)
            }
  t.true(asked > 0)
})

function question(part: Partial<WayInput>): WayInput {
  return { family: 'ipv4', onLink: true, routed: false, announced: NONE, own: ALL, farVtep: true, ...part }
}
