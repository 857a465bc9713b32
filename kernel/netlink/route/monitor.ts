// What the kernel multicasts about links, addresses, routes, next hop objects, rules, neighbours, forwarding entries, shaping and settings.
import type { KernelEvent, KernelMonitor } from '../../port/kernel.ts'
import type { Message } from '../message.ts'
import { NETLINK } from '../numbers.ts'
import { isOwnPort, NetlinkSocket } from '../socket.ts'
import { parseAddressMessage } from './address.ts'
import { isNewLink, parseLink } from './link.ts'
import { parseFdb, parseNeighbour } from './neighbour.ts'
import { parseNetconf } from './netconf.ts'
import { parseNextHopObject } from './next-hop.ts'
import { GROUP, RTM } from './numbers.ts'
import { parseRoute } from './route.ts'
import { parseRule } from './rule.ts'
import { shapingIfindex } from './shaping.ts'

/** Room for some 10,000 events while the process is busy. */
const RECEIVE_BUFFER = 8 << 20

type MonitorOptions = {
  receiveBuffer?: number
  /** Routes that come and go by this port are not told. */
  routesNotOf?: number | undefined
}

/** Listens from now on, in the network namespace of the calling thread. Throws `KernelError`. */
export function openMonitor(
  listen: (event: KernelEvent) => void,
  { receiveBuffer = RECEIVE_BUFFER, routesNotOf }: MonitorOptions = {},
): KernelMonitor {
  let closed = false
  const tell = (event: KernelEvent | undefined) => {
    if (event !== undefined && !closed) listen(event)
  }
  const socket = new NetlinkSocket({
    family: NETLINK.route,
    receiveBuffer,
    groups: Object.values(GROUP),
    ...(routesNotOf !== undefined && {
      unlessCausedBy: { port: routesNotOf, types: [RTM.newRoute, RTM.delRoute] },
    }),
    received: messages => {
      for (const message of messages)
        if (message.type === RTM.newNetconf) for (const event of parseNetconf(message)) tell(event)
        else tell(authoredEvent(message))
    },
    lost: () => tell({ type: 'overrun' }),
  })
  return {
    close() {
      closed = true
      socket.close()
    },
  }
}

/** What a notification says, and who had it done; undefined of all else. The port of what the kernel did by itself is 0. */
export function authoredEvent(message: Message): KernelEvent | undefined {
  const event = parseEvent(message)
  const { port } = message
  if (event !== undefined && port !== 0 && !isOwnPort(port)) event.by = { port }
  return event
}

function parseEvent(message: Message): KernelEvent | undefined {
  switch (message.type) {
    case RTM.newLink:
    case RTM.delLink: {
      const link = parseLink(message)
      if (link === undefined || message.type === RTM.delLink) return link && { type: 'link-gone', link }
      return { type: 'link', link, ...(isNewLink(message) && { isNew: true }) }
    }
    case RTM.newAddr:
    case RTM.delAddr: {
      const address = parseAddressMessage(message)
      return address && { type: message.type === RTM.newAddr ? 'address' : 'address-gone', address }
    }
    case RTM.newRoute:
    case RTM.delRoute: {
      const route = parseRoute(message)
      return route && { type: message.type === RTM.newRoute ? 'route' : 'route-gone', route }
    }
    case RTM.newNexthop:
    case RTM.delNexthop: {
      const object = parseNextHopObject(message)
      return object && { type: message.type === RTM.newNexthop ? 'next-hop' : 'next-hop-gone', object }
    }
    case RTM.newRule:
    case RTM.delRule: {
      const rule = parseRule(message)
      return rule && { type: message.type === RTM.newRule ? 'rule' : 'rule-gone', rule }
    }
    case RTM.newNeigh:
    case RTM.delNeigh: {
      const neighbour = parseNeighbour(message)
      if (neighbour !== undefined)
        return { type: message.type === RTM.newNeigh ? 'neighbour' : 'neighbour-gone', neighbour }
      const entry = parseFdb(message)
      return entry && { type: message.type === RTM.newNeigh ? 'fdb' : 'fdb-gone', entry }
    }
    case RTM.newQdisc:
    case RTM.delQdisc:
    case RTM.newTfilter:
    case RTM.delTfilter: {
      const ifindex = shapingIfindex(message)
      return ifindex === undefined ? undefined : { type: 'shaping', ifindex }
    }
  }
  return undefined
}
