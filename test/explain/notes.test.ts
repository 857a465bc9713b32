// What is told beside the cause: what was healed, what nodes say of themselves, sessions that are about to end.
import test from 'ava'
import { AT_MS, aPair, aSession, kernel, model, POD, walked } from './worlds.ts'

const p = (name: string) => POD[name]!

test('what was healed is a note, and so is a session whose messages are lost one way', t => {
  const found = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        const object = { kind: 'Route', name: '10.244.2.0/26' }
        facts.recent = [
          {
            at: '2026-11-27T11:59:58Z',
            type: 'Healed',
            object,
            reason: 'Foreign',
            message: 'ip (process 812) deleted it; put back',
          },
          { at: '2026-11-27T11:59:57Z', type: 'SessionChanged', object, reason: 'Up', message: '' },
        ]
        facts.sessions = model([aSession('n2', { lastReceivedMs: AT_MS - 61_000 })])
      },
      far: facts => {
        facts.sessions = model([aSession('n1', { lastSentMs: AT_MS - 4000 })])
      },
    }),
  )
  t.is(found.verdict, 'passes')
  t.deepEqual(found.notes, [
    {
      node: 'n1',
      text: 'n2 sent to their BGP session 4 s ago, and n1 has heard nothing for 61 s: something drops TCP port 179 from n2 to n1',
    },
    {
      node: 'n1',
      at: '2026-11-27T11:59:58Z',
      text: 'Healed Route 10.244.2.0/26: ip (process 812) deleted it; put back',
    },
  ])
})

test('of changes the newest comes first, what took others along before those, and what is not of this way last', t => {
  const event = (second: number, kind: string, name: string, type = 'Healed') => ({
    at: new Date(AT_MS + second * 1000).toISOString(),
    type,
    object: { kind, name },
    reason: 'ChangedByOther',
    message: 'put back',
  })
  const { notes } = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        facts.hooks = kernel([
          { family: 'ip', table: 'filter', chain: 'FORWARD', hook: 'forward', priority: 0, policy: 'drop' },
        ])
        facts.recent = [
          event(-1, 'Route', '10.244.1.10/32'),
          event(-1.01, 'NftChain', 'ip filter FORWARD', 'LetPass'),
          event(-10, 'Route', '10.244.1.1/32'),
          event(-10.01, 'Sysctl', 'net.ipv4 conf/cali-n1-p1/forwarding'),
          event(-10.02, 'Sysctl', 'net.ipv4 ip_forward'),
          event(-10.03, 'Link', 'cali-n1-p1'),
          event(-60, 'Endpoint', '4711/eth0'),
        ]
      },
    }),
  )
  t.deepEqual(
    notes.map(({ text }) => text.replace(/: put back$/, '')),
    [
      'LetPass NftChain ip filter FORWARD',
      'Healed Link cali-n1-p1',
      'Healed Sysctl net.ipv4 ip_forward',
      'Healed Sysctl net.ipv4 conf/cali-n1-p1/forwarding',
      'Healed Route 10.244.1.1/32',
      'Healed Route 10.244.1.10/32',
      'Healed',
    ],
  )
})
