// What an agent is asked to follow through its node, packet by packet, and what it answers: `margayctl explain --probe` asks both ends.
// Whoever may ask sends packets as a pod: the socket is root's.
import * as z from 'zod'
import { parseAddress } from '../lib/ip.ts'

/** The whole way of a probe is followed for so long at the most, counted from when the node was told to. */
export const TRACE_MS = 10_000

const address = z.string().refine(text => parseAddress(text) === text, 'no address in its shortest form')
const port = z.int().min(1).max(65535)

/** The packet that is sent, as a question has it. Octets of `length` with the header of IP: then it may not be fragmented. */
const probePacket = z
  .object({
    source: address,
    destination: address,
    protocol: z.enum(['icmp', 'icmpv6', 'tcp', 'udp']),
    sourcePort: port.optional(),
    destinationPort: port.optional(),
    length: z.int().min(68).max(9216).optional(),
  })
  .refine(({ source, destination }) => source.includes(':') === destination.includes(':'), 'addresses of two families')
  .refine(
    ({ source, protocol }) => !(source.includes(':') ? ['icmp'] : ['icmpv6']).includes(protocol),
    'the protocol is of the other family',
  )
  .refine(
    ({ protocol, destinationPort }) => (protocol === 'tcp' || protocol === 'udp') === (destinationPort !== undefined),
    'TCP and UDP have a destination port, and nothing else has',
  )

export type ProbePacket = z.infer<typeof probePacket>

/** By chance, the same for both nodes: what the packet is known by. */
const marker = z.string().regex(/^[0-9a-f]{16}$/)

/**
 * `arm`: count and trace such packets from now on. `send`: send them, from the pod that has their source, or from the node itself.
 * `collect`: say what they met, and forget all.
 */
export const traceOrder = z.discriminatedUnion('do', [
  z.object({ do: z.literal('arm'), packet: probePacket, marker }),
  z.object({ do: z.literal('send'), marker }),
  z.object({ do: z.literal('collect'), marker }),
])

export type TraceOrder = z.infer<typeof traceOrder>

/** A rule, as nft prints it, or a policy. `family` is the table's, or `iptables-legacy` and `ip6tables-legacy`. */
const met = {
  family: z.string(),
  table: z.string(),
  chain: z.string(),
  hook: z.string().optional(),
  rule: z.string(),
  /** Margay wrote it. */
  ours: z.boolean(),
  /** The policy, tier or profile whose rule it is, where it is one of ours. */
  policy: z.string().optional(),
}

const crossed = {
  /** Packets that came in from an interface or were made by the node itself, as the first chains saw them. */
  cameIn: z.number(),
  /** That left by an interface, or that the node itself took, behind the last chains. */
  left: z.number(),
  /** That interfaces received, before any chain; absent where the kernel cannot count there. */
  received: z.number().optional(),
}

const traceFacts = z.object({
  node: z.string(),
  direction: z.enum(['there', 'back']),
  sent: z.number(),
  ...crossed,
  /** The packets of a tunnel around them; absent where there were none. */
  outer: z.object(crossed).optional(),
  /** Where they were dropped: by the packet itself, that was traced, or by the counter of a rule of iptables-legacy that counted just these. */
  dropped: z
    .object({
      ...met,
      count: z.number(),
      /** It was the packet of the tunnel. */
      outer: z.boolean(),
    })
    .optional(),
  /** What a rule made of the addresses of the first packet. Without `by` it was no rule of nftables. */
  translated: z
    .object({
      by: z.object(met).optional(),
      source: z.string().optional(),
      destination: z.string().optional(),
      destinationPort: z.number().optional(),
    })
    .optional(),
  /** Packets of IPv4 that the node's reverse path filters dropped meanwhile, those of others among them. */
  reversePathDrops: z.number(),
  /** The kernel could not tell all: that nothing is said to have been dropped then proves nothing. */
  incomplete: z.boolean(),
  /** How it ended, where it was sent. */
  outcome: z.enum(['answered', 'refused', 'unreachable', 'silent']).optional(),
  said: z.string().optional(),
  /** The address of who refused it, or said that it cannot be delivered. */
  saidBy: z.string().optional(),
})

/** What a probe met on one node. */
export type TraceFacts = z.infer<typeof traceFacts>

export const traceAnswer = z.union([
  z.object({ armed: z.literal(true) }),
  z.object({ sent: z.number(), outcome: z.string(), said: z.string().optional(), saidBy: z.string().optional() }),
  z.object({ facts: z.array(traceFacts) }),
])

export type TraceAnswer = z.infer<typeof traceAnswer>
