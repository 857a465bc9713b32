// CalicoNodeStatus.
import { int32, type KindShape, list, meaning, object, once, oneOf, set, text, whole } from './shape.ts'

const bird = once(() =>
  object({
    lastBootTime: text(),
    lastReconfigurationTime: text(),
    routerID: text(),
    state: oneOf('Ready', 'NotReady'),
    version: text(),
  }),
)

const peers = once(() =>
  list(
    object({
      peerIP: text(),
      since: text(),
      state: oneOf('Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established', 'Close'),
      type: oneOf('NodeMesh', 'NodePeer', 'GlobalPeer'),
    }),
  ),
)

const routes = once(() =>
  list(
    object({
      destination: text(),
      gateway: text(),
      interface: text(),
      learnedFrom: object({
        peerIP: text(),
        sourceType: oneOf('Kernel', 'Static', 'Direct', 'NodeMesh', 'BGPPeer'),
      }),
      type: oneOf('FIB', 'RIB'),
    }),
  ),
)

export const calicoNodeStatus = once(
  (): KindShape => ({
    spec: object({
      classes: set(oneOf('Agent', 'BGP', 'Routes')),
      node: meaning('name'),
      updatePeriodSeconds: int32,
    }),
    status: object({
      agent: object({
        birdV4: bird(),
        birdV6: bird(),
      }),
      bgp: object({
        'numberEstablishedV4!': whole,
        'numberEstablishedV6!': whole,
        'numberNotEstablishedV4!': whole,
        'numberNotEstablishedV6!': whole,
        peersV4: peers(),
        peersV6: peers(),
      }),
      lastUpdated: text(undefined, { format: 'date-time', nullable: true }),
      routes: object({
        routesV4: routes(),
        routesV6: routes(),
      }),
    }),
  }),
)
