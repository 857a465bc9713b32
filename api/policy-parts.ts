// The parts of policies by their types: Kubernetes' NetworkPolicy and ClusterNetworkPolicy, and Calico's. Each part is read
// alone, since one that makes no sense must close what it says, and not the whole object: an object that is refused counts as
// if it were not there. Hazard: a field that this version does not know may narrow what a part allows, so it is a fault.
import * as z from 'zod'
import { numberOrTextField } from './fields.ts'
import { type Problem, problemsOf } from './validate.ts'

const texts = z.array(z.string())

/** Of Kubernetes (meta/v1). */
export const labelSelector = z.strictObject({
  matchLabels: z.record(z.string(), z.string()).optional(),
  matchExpressions: z
    .array(z.strictObject({ key: z.string(), operator: z.string(), values: texts.optional() }))
    .optional(),
})

export type LabelSelector = z.infer<typeof labelSelector>

/** Who is at the other end of a rule of a NetworkPolicy of Kubernetes. */
export const networkPolicyPeer = z.strictObject({
  podSelector: labelSelector.optional(),
  namespaceSelector: labelSelector.optional(),
  ipBlock: z.strictObject({ cidr: z.string(), except: texts.optional() }).optional(),
})

export const networkPolicyPort = z.strictObject({
  protocol: z.string().optional(),
  port: numberOrTextField.optional(),
  endPort: z.int().optional(),
})

export const networkPolicyIngress = z.strictObject({
  from: z.array(networkPolicyPeer).optional(),
  ports: z.array(networkPolicyPort).optional(),
})

export const networkPolicyEgress = z.strictObject({
  to: z.array(networkPolicyPeer).optional(),
  ports: z.array(networkPolicyPort).optional(),
})

const podsOfNamespaces = z.strictObject({
  namespaceSelector: labelSelector.optional(),
  podSelector: labelSelector.optional(),
})

/** Whom a ClusterNetworkPolicy is for. */
export const clusterPolicySubject = z.strictObject({
  namespaces: labelSelector.optional(),
  pods: podsOfNamespaces.optional(),
})

export const clusterPolicyPeer = z.strictObject({
  ...clusterPolicySubject.shape,
  networks: texts.optional(),
  nodes: labelSelector.optional(),
  domainNames: texts.optional(),
})

const destinationPort = z.strictObject({
  number: z.int().optional(),
  range: z.strictObject({ start: z.int(), end: z.int() }).optional(),
})
const withPort = z.strictObject({ destinationPort: destinationPort.optional() })

export const clusterPolicyProtocol = z.strictObject({
  tcp: withPort.optional(),
  udp: withPort.optional(),
  sctp: withPort.optional(),
  destinationNamedPort: z.string().optional(),
})

const clusterPolicyRule = z.strictObject({
  name: z.string().optional(),
  action: z.string(),
  protocols: z.array(clusterPolicyProtocol).optional(),
})

export const clusterPolicyIngress = clusterPolicyRule.extend({ from: z.array(clusterPolicyPeer).optional() })
export const clusterPolicyEgress = clusterPolicyRule.extend({ to: z.array(clusterPolicyPeer).optional() })

const ports = z.array(numberOrTextField)

/** One side of a rule of Calico's. An empty text or list is one that is absent. */
const calicoSide = z.strictObject({
  nets: texts.optional(),
  notNets: texts.optional(),
  selector: z.string().optional(),
  notSelector: z.string().optional(),
  namespaceSelector: z.string().optional(),
  ports: ports.optional(),
  notPorts: ports.optional(),
  serviceAccounts: z.strictObject({ names: texts.optional(), selector: z.string().optional() }).optional(),
  services: z.strictObject({ name: z.string().optional(), namespace: z.string().optional() }).optional(),
})

export type CalicoSide = z.infer<typeof calicoSide>

const icmp = z.strictObject({ type: z.int().optional(), code: z.int().optional() })

export const calicoRule = z.strictObject({
  action: z.string(),
  ipVersion: z.literal([4, 6]).optional(),
  protocol: numberOrTextField.optional(),
  notProtocol: numberOrTextField.optional(),
  icmp: icmp.optional(),
  notICMP: icmp.optional(),
  source: calicoSide.optional(),
  destination: calicoSide.optional(),
  /** Not read: a rule with it is one that this program cannot keep. */
  http: z.unknown().optional(),
  /** Notes for people. */
  metadata: z.unknown().optional(),
})

export type CalicoRule = z.infer<typeof calicoRule>

/** A large integer comes as a bigint. */
const order = z.union([z.number(), z.bigint().transform(Number)])

/** What is not a rule of a policy of Calico's, staged or not. */
export const calicoPolicy = z.looseObject({
  tier: z.string().optional(),
  order: order.optional(),
  selector: z.string().optional(),
  namespaceSelector: z.string().optional(),
  serviceAccountSelector: z.string().optional(),
  types: z.array(z.enum(['Ingress', 'Egress'])).optional(),
  ingress: z.array(z.unknown()).optional(),
  egress: z.array(z.unknown()).optional(),
  applyOnForward: z.boolean().optional(),
  preDNAT: z.boolean().optional(),
  doNotTrack: z.boolean().optional(),
  stagedAction: z.enum(['', 'Set', 'Delete', 'Learn', 'Ignore']).optional(),
})

export const calicoTier = z.looseObject({
  order: order.optional(),
  defaultAction: z.enum(['', 'Deny', 'Pass']).optional(),
})

const hostPort = z.strictObject({ name: z.string(), protocol: numberOrTextField, port: z.int() })

export const calicoHostEndpoint = z.looseObject({
  node: z.string().optional(),
  interfaceName: z.string().optional(),
  expectedIPs: texts.optional(),
  profiles: texts.optional(),
  ports: z.array(hostPort).optional(),
})

/** What a part says, by its schema; or what is wrong with it, by paths that begin with `path`. */
export function readPart<S extends z.ZodType>(
  schema: S,
  value: unknown,
  path: string,
): { part: z.output<S>; problems?: undefined } | { part?: undefined; problems: Problem[] } {
  const result = schema.safeParse(value)
  if (result.success) return { part: result.data }
  return { problems: result.error.issues.flatMap(issue => problemsOf(issue)).map(problem => below(path, problem)) }
}

function below(path: string, { path: inner, message }: Problem): Problem {
  const joined = inner === '' || inner.startsWith('[') ? path + inner : `${path}.${inner}`
  return { path: joined, message }
}
