// What the walk makes of routes, rules and filters of a node: whom it must not blame, and commands as programs take them.
import test from 'ava'
import type { LookupFacts, NodeFacts, RouteFacts, WayFacts } from '../../api/explain.ts'
import { aPair, aSession, cali, kernel, link, model, NODE, POD, settingsOf, walked, wayOf } from './worlds.ts'

const p = (name: string) => POD[name]!
const v6 = (name: string) => ({ ...p(name), address: `fd00:${p(name).address.replaceAll('.', ':')}` })

const no = (errno: string): LookupFacts => ({ errno, message: 'as strerror says' })
const routeTo = (change: Partial<RouteFacts>): LookupFacts => ({
  route: { type: 'unicast', prefix: '0.0.0.0/0', table: 254, device: 'eth0', protocol: 'static', ...change },
})
const byRouter = routeTo({ gateway: '192.0.2.1' })
const answers = (way: WayFacts, said: LookupFacts) => {
  way.lookup = kernel(said)
  way.plain = kernel(said)
}
const ofOthers = (...priorities: number[]) =>
  kernel(priorities.map(priority => ({ text: `from all lookup ${priority}`, priority, matches: true })))

const filtered = (facts: NodeFacts) => {
  const settings = settingsOf('vxlan.calico').map(each =>
    each.name.endsWith('.rp_filter') ? { ...each, is: '1' } : each,
  )
  Object.assign(wayOf(facts), {
    lookup: kernel(no('EXDEV')),
    ofSource: kernel(byRouter),
    settings: kernel(settings),
  })
}

test('a filter that refuses only since the way back is lost is not blamed, nor is a rule of others', t => {
  const { first, others } = walked(
    aPair(p('n3-p1'), p('n1-p1'), {
      far: facts => {
        filtered(facts)
        wayOf(facts).rules = ofOthers(5270)
        answers(wayOf(facts, 'back'), byRouter)
        wayOf(facts, 'back').wanted!.divergence = 'missing'
      },
    }),
  )
  t.deepEqual([first?.code, others], ['RouteMissing', []])
})

test('a filter is made loose where it counts: on the interface, whose name may have dots', t => {
  const { first } = walked(aPair(p('n3-p1'), p('n1-p1'), { far: filtered }))
  t.is(first?.code, 'ReversePath')
  t.regex(first!.remedy, /^sysctl -w net\/ipv4\/conf\/vxlan\.calico\/rp_filter=2 on n1,/)
})

test('settings of interfaces without dots are named as usual', t => {
  const device = cali(p('n1-p1'))
  const { first } = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        wayOf(facts).lookup = kernel(no('EHOSTUNREACH'))
        wayOf(facts).settings = kernel([{ name: `net.ipv4.conf.${device}.forwarding`, is: '0' }])
      },
    }),
  )
  t.is(first?.remedy, `sysctl -w net.ipv4.conf.${device}.forwarding=1 on n1`)
})

test('a route that is there is not called lost where another table answers and nobody knows by which rule', t => {
  const { first, steps } = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        answers(wayOf(facts), routeTo({ gateway: '192.0.2.1', table: 52 }))
        wayOf(facts).rules = ofOthers(51, 52)
        wayOf(facts).wanted!.divergence = 'elsewhere'
      },
    }),
  )
  t.is(first, undefined)
  t.is(
    steps.find(({ name }) => name === 'rule')?.says,
    'n1 sends it via 192.0.2.1 dev eth0 by table 52; why is not known',
  )
})

test('a rule is not blamed for another route of the table main', t => {
  const { first } = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        wayOf(facts).lookup = kernel(byRouter)
        wayOf(facts).rules = ofOthers(5270)
      },
    }),
  )
  t.is(first, undefined)
})

test('of several next hops the kernel may take another one than the first; a route that diverges is told', t => {
  const world = (divergence?: 'shadowed') =>
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        answers(wayOf(facts), routeTo({ prefix: '10.244.2.0/26', gateway: '192.0.2.77', protocol: 'margay' }))
        if (divergence !== undefined) wayOf(facts).wanted!.divergence = divergence
      },
    })
  t.is(walked(world()).first, undefined)
  const { first } = walked(world('shadowed'))
  // `ip` knows the name of our protocol only where somebody wrote it down
  t.like(first, { code: 'RouteElsewhere', remedy: 'ip route del 10.244.2.0/26 via 192.0.2.77 dev eth0 on n1' })
})

test('commands for rules of IPv6 say so: without it they are about IPv4', t => {
  const near = (change: (way: WayFacts) => void) => (facts: NodeFacts) => change(wayOf(facts))
  const diverted = walked(
    aPair(v6('n1-p1'), v6('n2-p1'), {
      near: near(way => {
        way.lookup = kernel(no('EACCES'))
        way.rules = ofOthers(90)
      }),
    }),
  )
  t.like(diverted.first, { code: 'RuleDiverts', remedy: 'ip -6 rule del pref 90 on n1' })
  const gone = walked(
    aPair(v6('n1-p1'), v6('n2-p1'), {
      near: near(way => {
        answers(way, no('ENETUNREACH'))
        way.rules = kernel([{ text: 'from all lookup main', priority: 32_766, matches: true, gone: true }])
      }),
    }),
  )
  t.like(gone.first, { code: 'RuleMissing', remedy: 'ip -6 rule add priority 32766 lookup main on n1' })
})

test('an address of another node that a node has itself does not pass, and may be shared by both', t => {
  const { verdict, first } = walked(
    aPair(p('n1-p1'), NODE.n2, {
      near: facts =>
        answers(wayOf(facts), routeTo({ type: 'local', prefix: '192.0.2.12/32', table: 255, device: 'lo' })),
    }),
  )
  t.deepEqual([verdict, first], ['unknown', undefined])
})

test('a block that is withheld from one peer is not withheld from another whose name begins with the same', t => {
  const withheldFrom = (peer: string) =>
    walked(
      aPair(p('n1-p1'), p('n2-p1'), {
        near: facts => {
          answers(wayOf(facts), no('ENETUNREACH'))
          const none = { of: 'none' as const, reason: 'NothingAnnounced', message: 'nobody has', remedy: 'look' }
          wayOf(facts).wanted = { origin: none }
        },
        far: facts => {
          facts.sessions = model([aSession('n1')])
          facts.blocks = model([{ address: p('n2-p1').address, withheld: `from ${peer}: a filter` }])
        },
      }),
    ).first?.code
  t.is(withheldFrom('Mesh_n1'), 'NotExported')
  t.is(withheldFrom('Mesh_n10'), 'NoWayLearned')
})

test('a permanent neighbour is wrong where its node found so on the same interface', t => {
  const toldOn = (device: string) =>
    walked(
      aPair(p('n1-p1'), p('n3-p1'), {
        near: facts => {
          wayOf(facts).outer!.neighbour = kernel({
            ...{ address: '192.0.2.1', mac: '02:00:00:00:00:99', state: 'permanent' as const, ours: false },
          })
          wayOf(facts).outer!.leavesBy = kernel(link('eth0'))
          const told = { reason: 'ForeignNeighbour', message: 'it is wrong', remedy: 'remove it' }
          const object = { kind: 'Neighbour', name: `192.0.2.1 ${device}` }
          facts.conditions = [{ type: 'NeighboursRight', status: 'False', object, ...told }]
        },
      }),
    ).first?.code
  t.is(toldOn('eth0'), 'NeighbourWrong')
  t.is(toldOn('eth1'), undefined)
})
