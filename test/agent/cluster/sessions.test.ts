// Which families a session carries, by who is at its other end.
import test from 'ava'
import { meshSession, namedBack, namedSession, type Session, selectedSession } from '../../../agent/cluster/sessions.ts'
import { aResource } from '../../datastore/objects.ts'

const OWN = { asn: 64512, ipv4: '192.168.10.9', ipv6: '2001:db8::9' }

test('sessions over IPv4 carry IPv6 between nodes alone, whoever asks for them: a router outside has no way to a mapped next hop', t => {
  const far = (address: string) => ({ address, asn: 64512, port: 179 })
  const named = (peerIP: string, isNode: boolean) =>
    namedSession('global', OWN, { ...far(peerIP), isNode, comesBack: isNode }, aPeer({ peerIP, asNumber: 64512 }))
  const said = (session: Session) => `${session.families} ${session.mappedNextHop}`
  const overIpv4 = 'ipv4-unicast,ipv6-unicast true'
  t.is(said(meshSession(OWN, far('192.168.10.10'))), overIpv4)
  t.is(said(selectedSession('node', OWN, far('192.168.10.10'), aPeer({ peerSelector: 'all()' }))), overIpv4)
  t.is(said(named('192.168.10.10', true)), overIpv4)
  t.is(said(namedBack(OWN, far('192.168.10.10'), aPeer({ peerIP: '192.168.10.9' }))), overIpv4)
  t.is(said(named('192.168.10.10', false)), 'ipv4-unicast undefined')
  t.is(said(meshSession(OWN, far('2001:db8::10'))), 'ipv6-unicast undefined')
})

function aPeer(spec: object) {
  return aResource('BGPPeer', { metadata: { name: 'peer' }, spec })
}
