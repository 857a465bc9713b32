// Every reason why a peer is not Established: when it is told, and what helps. docs/bgp.md has the same table.

/** By the code of the reason, which programs may rely on. */
export const DOWN_REASONS = {
  'never-tried': {
    when: 'no attempt has ended yet, or no neighbour was seen on the interface',
    remedy: 'wait some seconds; a passive session needs the peer to connect, and an interface a neighbour that is up',
  },
  'admin-down': {
    when: 'it is disabled, was cleared, or a Cease without a subcode of its own ended it',
    remedy: 'enable the peer where it is disabled; after a clear it comes back by itself',
  },
  'no-interface': {
    when: 'the interface of an unnumbered neighbour is not there, has no carrier or no IPv6, or may not be listened on',
    remedy:
      'look at `ip -6 address show` for the interface; where this machine is not to have it, let the peer be for others alone',
  },
  'no-route': {
    when: 'the kernel has no way to the address, or no source address or descriptor for the connection',
    remedy: 'look at `ip route get` for the address, at its link, and at the source address of the session',
  },
  refused: {
    when: 'a host answers, and nothing takes connections at the port',
    remedy: 'start BGP at the peer, or name its port; where it only dials, let it reach ours',
  },
  timeout: {
    when: 'nothing answers the attempt to connect',
    remedy:
      'let TCP to the BGP port through both ways, see whether the peer is up, and whether only it has a password or keys',
  },
  reset: {
    when: 'the peer, or what is between, answered with a TCP reset',
    remedy: 'look at the log of the peer and at its list of neighbours: it may not know this address',
  },
  closed: {
    when: 'the connection ended without a word of BGP',
    remedy: 'look at the log of the peer: its BGP has stopped or begun again',
  },
  'hold-timer': {
    when: 'nothing came for the hold time, at either end',
    remedy:
      'look at the way there for loss and for a smaller MTU, and whether one end is too busy; BFD notices such paths sooner',
  },
  'bfd-down': {
    when: 'BFD says that the path is lost',
    remedy: 'look at the link and the way there; on a busy machine ask for longer BFD times',
  },
  'wrong-as': {
    when: 'the AS number of an OPEN is not the one that the other end was told',
    remedy: 'compare the AS numbers of both configurations; the detail has both',
  },
  'bad-open': {
    when: 'an OPEN was refused: router id, hold time, capabilities or role',
    remedy: 'compare what the detail names at both ends; router ids must differ inside an AS',
  },
  'signature-suspected': {
    when: 'nothing answers, and this end has a password or keys of TCP-AO',
    remedy: 'compare the passwords, or the keys with their ids, of both ends, then look for a firewall',
  },
  'not-signed': {
    when: 'the kernel of this host cannot sign connections as the configuration asks',
    remedy: 'take a kernel with TCP-AO (Linux 6.7 with CONFIG_TCP_AO), or a password at both ends',
  },
  collision: {
    when: 'both ends dialled at once and one connection was given up',
    remedy: 'none: the other connection goes on; where it lasts, two speakers use one address',
  },
  'prefix-limit': {
    when: 'the peer announced more prefixes than it may',
    remedy: 'let the peer announce less or raise the limit, then clear the session where no time is told',
  },
  'peer-cease': {
    when: 'the peer ended or refused the session with a Cease',
    remedy: 'look at the peer: the detail has its reason; what it rejects is not configured there, or has to wait',
  },
  'protocol-error': {
    when: 'a message was refused, by us or by the peer',
    remedy: 'report the detail to whoever makes the speaker that sent the message; it names the octets',
  },
  damped: {
    when: 'the session came up and fell for faults again and again',
    remedy:
      'cure the fault that the detail names; it is tried again at the time told, and at once after `margayctl bgp clear`',
  },
  'shutting-down': {
    when: 'this speaker is stopping',
    remedy: 'none: the session begins again with the speaker',
  },
} as const satisfies Readonly<Record<string, { when: string; remedy: string }>>

/** Codes for why a peer is not up. */
export type DownCode = keyof typeof DOWN_REASONS
