// Who is who by the objects at the API server. Objects are read as they are, so that one with a fault elsewhere does not hide the rest.
import * as z from 'zod'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { End } from '../../api/explain.ts'
import type { AnyObject } from '../../api/lifecycle.ts'
import type { Objects } from '../../datastore/objects.ts'
import { NotFound } from '../../datastore/port.ts'
import { parseAddress } from '../../lib/ip.ts'
import type { Directory, FoundService } from './ends.ts'

const metadata = z.object({
  name: z.string(),
  namespace: z.string().default(''),
  annotations: z.record(z.string(), z.string()).default({}),
})

const podObject = z.object({
  metadata,
  spec: z.object({ nodeName: z.string().optional(), hostNetwork: z.boolean().optional() }),
  status: z
    .object({
      podIP: z.string().optional(),
      podIPs: z.array(z.object({ ip: z.string() })).optional(),
      phase: z.string().optional(),
    })
    .default({}),
})

const nodeObject = z.object({
  metadata,
  status: z
    .object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })).default([]) })
    .default({ addresses: [] }),
})

const serviceObject = z.object({
  metadata,
  spec: z.object({
    clusterIP: z.string().optional(),
    clusterIPs: z.array(z.string()).optional(),
    externalIPs: z.array(z.string()).nullish(),
    type: z.string().optional(),
    externalName: z.string().optional(),
    ports: z
      .array(
        z.object({
          name: z.string().default(''),
          port: z.number(),
          protocol: z.string().default('TCP'),
          nodePort: z.number().optional(),
        }),
      )
      .default([]),
  }),
  status: z
    .object({
      loadBalancer: z
        .object({
          ingress: z.array(z.object({ ip: z.string().optional(), ipMode: z.string().optional() })).nullish(),
        })
        .nullish(),
    })
    .nullish(),
})

const sliceObject = z.object({
  ports: z
    .array(z.object({ name: z.string().nullish(), port: z.number().nullish() }))
    .nullish()
    .transform(each => each ?? []),
  endpoints: z
    .array(
      z.object({
        addresses: z.array(z.string()),
        conditions: z
          .object({ ready: z.boolean().nullish(), serving: z.boolean().nullish(), terminating: z.boolean().nullish() })
          .nullish(),
        nodeName: z.string().nullish(),
        targetRef: z.object({ kind: z.string(), name: z.string(), namespace: z.string().optional() }).nullish(),
      }),
    )
    .nullish()
    .transform(each => each ?? []),
})

type PodObject = z.infer<typeof podObject>
type NodeObject = z.infer<typeof nodeObject>
type ServiceObject = z.infer<typeof serviceObject>
type SliceObject = z.infer<typeof sliceObject>
type Endpoint = SliceObject['endpoints'][number]

export function objectDirectory(objects: Objects): Directory {
  let nodes: Promise<NodeObject[]> | undefined
  let pods: Promise<PodObject[]> | undefined
  const allNodes = () => (nodes ??= objects.list('Node').then(all => readAll(all, nodeObject)))
  const allPods = () => (pods ??= objects.list('Pod').then(all => readAll(all, podObject)))
  const allServices = async () => readAll(await objects.list('Service'), serviceObject)
  const withEndpoints = async (service: ServiceObject): Promise<FoundService> => {
    const { name, namespace } = service.metadata
    const labelSelector = `kubernetes.io/service-name=${name}`
    const slices = readAll(await objects.list('EndpointSlice', { namespace, labelSelector }), sliceObject)
    return serviceOf(service, slices, (await allNodes()).flatMap(nodeEnds))
  }
  return {
    pod: async (namespace, name) => {
      const found = await orUndefined(objects.get('Pod', name, namespace))
      const pod = found === undefined ? undefined : podObject.safeParse(found).data
      return pod === undefined ? undefined : podEnds(pod)
    },
    node: async name => {
      const found = (await allNodes()).find(each => each.metadata.name === name)
      return found === undefined ? undefined : nodeEnds(found)
    },
    service: async (namespace, name) => {
      const found = await orUndefined(objects.get('Service', name, namespace))
      const service = found === undefined ? undefined : serviceObject.safeParse(found).data
      return service === undefined ? undefined : withEndpoints(service)
    },
    at: async address => {
      const node = (await allNodes()).flatMap(nodeEnds).find(each => each.address === address)
      if (node !== undefined) return node
      const selected = readAll(await objects.list('Pod', { fieldSelector: `status.podIP=${address}` }), podObject)
      // servers select by the first address of a pod alone
      return endAt(address, selected) ?? endAt(address, await allPods()) ?? { address, role: 'outside' }
    },
    serviceAt: async address => {
      const found = (await allServices()).find(service =>
        [...addressesOf(service), ...outsideOf(service)].includes(address),
      )
      return found === undefined ? undefined : withEndpoints(found)
    },
    serviceOfNodePort: async (protocol, port) => {
      const found = (await allServices()).find(({ spec }) =>
        spec.ports.some(each => each.nodePort === port && each.protocol.toLowerCase() === protocol),
      )
      return found === undefined ? undefined : withEndpoints(found)
    },
  }
}

function endAt(address: string, pods: readonly PodObject[]): End | undefined {
  return pods
    .filter(({ status }) => status.phase !== 'Succeeded' && status.phase !== 'Failed')
    .flatMap(podEnds)
    .find(each => each.address === address)
}

/** A pod without a network of its own has the addresses of its node. */
function podEnds({ metadata: { name, namespace }, spec, status }: PodObject): End[] {
  const addresses = status.podIPs?.map(({ ip }) => ip) ?? (status.podIP === undefined ? [] : [status.podIP])
  return canonical(addresses).map(address => ({
    address,
    role: spec.hostNetwork === true ? 'node' : 'pod',
    ...(spec.nodeName !== undefined && { node: spec.nodeName }),
    pod: { namespace, name },
  }))
}

/** The addresses that Margay uses come first. */
function nodeEnds({ metadata: { name, annotations }, status }: NodeObject): End[] {
  const ours = [NODE_ANNOTATION.ipv4Address, NODE_ANNOTATION.ipv6Address].flatMap(key => {
    const text = annotations[key]
    // with the length of its subnet
    return text === undefined ? [] : [text.split('/')[0]!]
  })
  const theirs = status.addresses.filter(({ type }) => type.endsWith('IP')).map(({ address }) => address)
  return canonical([...ours, ...theirs]).map(address => ({ address, role: 'node', node: name }))
}

function serviceOf(service: ServiceObject, slices: readonly SliceObject[], nodes: readonly End[]): FoundService {
  const { name, namespace } = service.metadata
  const gets = slices.some(({ endpoints }) => endpoints.some(isReady)) ? isReady : isEndingYetServing
  const ports = service.spec.ports.map(({ name: portName, port, protocol, nodePort }) => ({
    name: portName,
    port,
    // 0 is none: LoadBalancers without node ports
    ...(nodePort !== undefined && nodePort !== 0 && { nodePort }),
    protocol: protocol.toLowerCase(),
    backends: slices.flatMap(slice => {
      const target = slice.ports.find(each => (each.name ?? '') === portName)?.port
      if (target === undefined || target === null) return []
      return slice.endpoints.filter(gets).flatMap(({ addresses, nodeName, targetRef }) =>
        canonical(addresses.slice(0, 1)).map(address => {
          const node = nodes.find(each => each.address === address)
          const pod =
            targetRef?.kind === 'Pod'
              ? { namespace: targetRef.namespace ?? namespace, name: targetRef.name }
              : undefined
          const end: End = node ?? {
            address,
            role: pod === undefined ? 'outside' : 'pod',
            ...(nodeName !== undefined && nodeName !== null && { node: nodeName }),
          }
          return { port: target, end: { ...end, ...(pod !== undefined && { pod }) } }
        }),
      )
    }),
  }))
  const { type, externalName } = service.spec
  return {
    ...{ namespace, name, addresses: addressesOf(service), outside: outsideOf(service), ports },
    ...(type === 'ExternalName' && externalName !== undefined && { externalName }),
  }
}

function isReady({ conditions }: Endpoint): boolean {
  return conditions?.ready !== false
}

/** Of those the last ones get packets while none is ready. */
function isEndingYetServing({ conditions }: Endpoint): boolean {
  return conditions?.serving === true && conditions.terminating === true
}

/** None of a headless Service. */
function addressesOf({ spec }: ServiceObject): string[] {
  return canonical(spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]))
}

/** Addresses of load balancers that see the packets themselves (`ipMode: Proxy`) are none: nodes do not translate them. */
function outsideOf({ spec, status }: ServiceObject): string[] {
  const given = status?.loadBalancer?.ingress ?? []
  const ips = given.flatMap(({ ip, ipMode }) => (ip === undefined || ipMode === 'Proxy' ? [] : [ip]))
  return canonical([...(spec.externalIPs ?? []), ...ips])
}

function canonical(addresses: readonly string[]): string[] {
  return [...new Set(addresses.flatMap(each => parseAddress(each) ?? []))]
}

function readAll<T>(objects: readonly AnyObject[], schema: z.ZodType<T>): T[] {
  return objects.flatMap(object => {
    const { data } = schema.safeParse(object)
    return data === undefined ? [] : [data]
  })
}

async function orUndefined<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
