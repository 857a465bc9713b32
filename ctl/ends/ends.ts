// What `explain` needs to know and to ask: who has a name or an address, and what nodes say of a question. Two ways lead there: the
// agents' sockets on this machine, and the API server.
import type { End, Question } from '../../api/explain.ts'
import type { TraceAnswer, TraceOrder } from '../../api/trace.ts'
import type { NodeAnswer } from '../../explain/crossing.ts'
import type { AskedNode } from '../../explain/node.ts'

/** A Service as its objects have it. `addresses`: its own, none of a headless one; `outside`: further ones that nodes translate. */
export type FoundService = {
  namespace: string
  name: string
  addresses: readonly string[]
  outside: readonly string[]
  /** It is nothing but another name for this one. */
  externalName?: string
  ports: readonly ServicePort[]
}

/**
 * `backends`: ready ones; where there is none those that end and still serve, as kube-proxy takes them. `nodePort`: that of every node which
 * leads to it.
 */
export type ServicePort = {
  name: string
  port: number
  nodePort?: number
  protocol: string
  backends: readonly { port: number; end: End }[]
}

/** Who is who. A thing that is not there is undefined. All reject with the errors of ctl/failure.ts and of the store. */
export type Directory = {
  /** One end for each address of the pod. */
  pod(namespace: string, name: string): Promise<End[] | undefined>
  node(name: string): Promise<End[] | undefined>
  service(namespace: string, name: string): Promise<FoundService | undefined>
  /** Of a pod, a node, or outside. */
  at(address: string): Promise<End>
  /** The Service with this address, of its own or outside. */
  serviceAt(address: string): Promise<FoundService | undefined>
  /** The Service that has this port of every node. */
  serviceOfNodePort(protocol: string, port: number): Promise<FoundService | undefined>
}

/** Asking nodes; they never reject for a node that does not answer. */
export type Ends = {
  directory: Directory
  ask(node: string, question: Question): Promise<NodeAnswer>
  /** What the node says to an order about a probe, or why it says nothing or no. */
  trace(node: string, order: TraceOrder): Promise<TraceAnswer | { silent: string }>
  /** What the node says of itself. */
  askNode(node: string): Promise<AskedNode>
}
