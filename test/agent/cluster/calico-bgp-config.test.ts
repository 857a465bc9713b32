// Sessions and announcements beside those that Calico's confd makes of the same objects.
import { testRows } from '../../policy/corpora.ts'
import { differences, type Scenario } from './calico-scenario.ts'

const GROUP = 'ffee::10 is the address of a group, and no host has it'

/** Where the two are not the same yet: in what, and why. A row goes when they are. */
const DIFFER: Readonly<Record<string, readonly [kinds: string, why: string]>> = {
  'bgpfilter/multi_filter/explicit_peer': [
    'passive',
    'AS 64517 is not that of the node, which so has no session by this object and would not dial',
  ],
  'next_hop_mode/route_reflectors': ['object, peers', GROUP],
  'reachable_by/route_reflectors': ['object, peers, static routes', GROUP],
}

testRows<Scenario>(
  'a node has the sessions, and announces the prefixes, that Calico’s confd makes of the same objects, but for what is listed',
  'calico-bgp-config-even.ndjson',
  async (t, scenarios) => {
    t.is(scenarios.length, 33)
    const found = new Map<string, string>()
    for (const scenario of scenarios) {
      const all = await differences(scenario)
      const kinds = [...new Set(all.map(({ kind }) => kind))].sort().join(', ')
      if (kinds !== '') found.set(scenario.scenario, kinds)
      const listed = DIFFER[scenario.scenario]?.[0] ?? ''
      if (kinds !== listed) t.log(scenario.scenario, all.map(({ kind, text }) => `${kind}: ${text}`).join('\n'))
    }
    const listed = Object.entries(DIFFER).map(([scenario, [kinds]]) => [scenario, kinds] as const)
    t.deepEqual(new Map([...found].sort()), new Map(listed.sort()))
  },
)
