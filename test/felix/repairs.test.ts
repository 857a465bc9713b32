// What is told of what other programs did, word for word.
import test from 'ava'
import { healedRepair, letPassRepair, removedRepair } from '../../felix/repairs.ts'
import type { Healed } from '../../kernel/reconcile/outcome.ts'

const IP = 'ip (process 812)'

const healed: [Healed, by: string | undefined, message: string][] = [
  [
    { kind: 'route', key: '10.244.1.0/26', gone: true, is: 'via 192.168.10.2 dev eth0 proto 80' },
    IP,
    'route 10.244.1.0/26 was deleted by ip (process 812); put back: via 192.168.10.2 dev eth0 proto 80',
  ],
  [{ kind: 'route', key: '10.244.1.0/26', gone: true }, undefined, 'route 10.244.1.0/26 was gone; put back'],
  [
    { kind: 'sysctl', key: 'net.ipv4 conf/cali1/proxy_arp', found: '0', is: '1' },
    undefined,
    'setting net.ipv4/conf/cali1/proxy_arp was changed from 1 to 0 by somebody else; put back',
  ],
  [
    { kind: 'link', key: 'cali1', interfaceName: 'cali1', found: 'down', is: 'up' },
    IP,
    'interface cali1 was changed from up to down by ip (process 812); put back',
  ],
  [
    { kind: 'neighbour', key: 'cali1 10.244.0.2', gone: true, is: 'lladdr aa:bb:cc:00:00:01 permanent' },
    IP,
    'neighbour 10.244.0.2 on cali1 was deleted by ip (process 812); put back: lladdr aa:bb:cc:00:00:01 permanent',
  ],
  [
    { kind: 'nftTable', key: 'inet margay', found: 'rule inet margay forward "drop" missing' },
    'nft (process 9)',
    'table inet margay was changed by nft (process 9) (rule inet margay forward "drop" missing); put back',
  ],
  [
    { kind: 'route', key: '10.244.1.0/26', found: 'same', is: 'same' },
    IP,
    'route 10.244.1.0/26 was changed by ip (process 812); put back',
  ],
]

for (const [object, by, message] of healed)
  test(`what was put back is told as: ${message}`, t => {
    t.like(healedRepair(object, by), { type: 'Healed', reason: 'ChangedByOther', message, by })
  })

test('a stray that was removed is told with what it was and who made it', t => {
  const stray = { kind: 'route', key: '10.244.0.5/32', found: 'dev cali1 proto 3' } as const
  t.like(removedRepair(stray, IP), {
    ...{ type: 'Removed', object: { kind: 'Route', name: '10.244.0.5/32' } },
    message:
      'route 10.244.0.5/32 (dev cali1 proto 3), made by ip (process 812), is a stray among ours, which nothing here needs; removed',
  })
})

test('rules that let pods pass are told with the chain and who changed it last', t => {
  const chain = { kind: 'chain', family: 'ip', table: 'filter', name: 'FORWARD' } as const
  const base = { type: 'filter', hook: 'forward', priority: 0, policy: 'drop' } as const
  t.like(letPassRepair({ ...chain, base }, 'iptables (process 9)'), {
    ...{ type: 'LetPass', object: { kind: 'NftChain', name: 'ip filter FORWARD' } },
    message:
      'chain ip filter FORWARD of another program, last changed by iptables (process 9), has the policy drop: two rules in it let packets of pods pass',
  })
  t.regex(
    letPassRepair(chain, undefined).message,
    /of another program ends with a rule that drops or rejects: two rules/,
  )
})
