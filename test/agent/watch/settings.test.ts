// Settings of a machine that are told as what stops traffic.
import test from 'ava'
import { settingsConditions } from '../../../agent/watch/settings.ts'

const told = (values: Record<string, number>, tunnels = ['vxlan.calico']) =>
  settingsConditions({
    ...{ read: (interfaceName, name) => values[`${interfaceName}/${name}`], tunnels, uplinks: ['eth0'] },
  }).map(({ reason, object, message }) => `${reason} ${object?.name}: ${message}`)

test('a strict filter for all interfaces is told where a tunnel has none of its own', t => {
  const [condition, ...others] = told({ 'all/rp_filter': 1, 'vxlan.calico/rp_filter': 0 })
  t.deepEqual(others, [])
  t.regex(condition!, /^ReversePathStrict net\.ipv4 conf\/all\/rp_filter: .*counts for vxlan\.calico/)
})

for (const where of ['all', 'eth0'])
  test(`arp_ignore 8 of ${where} is told, since nobody finds the node`, t => {
    const [condition] = told({ [`${where}/arp_ignore`]: 8 })
    t.true(condition?.startsWith(`ArpIgnored net.ipv4 conf/${where}/arp_ignore: `), condition)
  })

test('the command for an interface with dots in its name is one that sysctl takes', t => {
  const read = (interfaceName: string, name: string) => (interfaceName === 'eth0.100' && name === 'arp_ignore' ? 8 : 0)
  const [condition] = settingsConditions({ read, tunnels: [], uplinks: ['eth0.100'] })
  t.regex(condition!.remedy, /^sysctl -w net\/ipv4\/conf\/eth0\.100\/arp_ignore=0,/)
})

for (const [what, values, tunnels] of [
  ['a machine as it comes', { 'all/rp_filter': 0, 'vxlan.calico/rp_filter': 0 }],
  ['a loose filter for all interfaces (systemd)', { 'all/rp_filter': 2, 'vxlan.calico/rp_filter': 0 }],
  [
    'a strict one beside a loose one of the tunnel (hardened hosts)',
    { 'all/rp_filter': 1, 'vxlan.calico/rp_filter': 2 },
  ],
  ['a strict one where there is no tunnel', { 'all/rp_filter': 1 }, []],
  ['a strict one of the tunnel alone, which is put back', { 'all/rp_filter': 0, 'vxlan.calico/rp_filter': 1 }],
  ['arp_ignore of load balancers', { 'all/arp_ignore': 1, 'eth0/arp_ignore': 2 }],
  ['arp_ignore 8 of an interface that is no uplink', { 'eth1/arp_ignore': 8 }],
  ['a kernel without these settings', {}],
] as const)
  test(`silent: ${what}`, t => {
    t.deepEqual(told(values, tunnels === undefined ? undefined : [...tunnels]), [])
  })
