// The configuration of a request with what its Pod and Namespace ask in its place.
import { ADDRESS_ANNOTATIONS } from '../api/address-annotations.ts'
import type { CniDeps } from './deps.ts'
import { CNI_CODE, CniError } from './error.ts'
import { createdByPlugin } from './ipam/handle.ts'
import { type PodAnnotations, withAnnotations } from './pod-annotations.ts'
import { type AddRequest, addressesFit, type NetConf, type PodName } from './request.ts'

/**
 * They ask for the interface that Kubernetes knows, the first of the container: the others have addresses of their own networks.
 * `handle`: of the request. Rejects with `CniError`.
 */
export async function confOfPod(request: AddRequest, handle: string, deps: CniDeps): Promise<NetConf> {
  const { conf, pod } = request
  const asked =
    pod === undefined || !isFirst(request, handle, deps)
      ? conf
      : withAnnotations(conf, pod, await annotationsOf(pod, deps))
  if (conf.delegate !== undefined && asked.addresses !== undefined)
    throw new CniError(
      CNI_CODE.field,
      `annotation ${ADDRESS_ANNOTATIONS.ipAddrs.annotation}: addresses of this network are given by ${conf.delegate}`,
      'take the annotation away, or let ipam.type be "margay"',
    )
  if (addressesFit(asked)) return asked
  throw new CniError(
    CNI_CODE.field,
    `invalid value of ips: ${JSON.stringify(asked.addresses)}`,
    `the family of one is not assigned: set ipam.assign_ipv4 or assign_ipv6, or name it in the annotation ${ADDRESS_ANNOTATIONS.ipFamilies.annotation}`,
  )
}

/** Whether no interface of the container is older, of ours or of another plugin that has its addresses from us. */
function isFirst({ containerID }: AddRequest, handle: string, { endpoints, ipam }: CniDeps): boolean {
  const created = new Map([
    ...endpoints
      .live()
      .flatMap(each => (each.containerID === containerID ? [[each.handle, each.createdMs] as const] : [])),
    ...createdByPlugin(containerID, ipam),
  ])
  const own = created.get(handle)
  return [...created].every(([each, ms]) => each === handle || (own !== undefined && own <= ms))
}

async function annotationsOf(pod: PodName, { annotations }: CniDeps): Promise<PodAnnotations> {
  return annotations(pod).catch((error: Error) => {
    throw new CniError(
      CNI_CODE.tryLater,
      `pod ${pod.namespace}/${pod.name} is refused: ${error.message}`,
      'nothing was made, and the runtime asks again; the condition ApiServerConnected of margayctl node status says why it is not told',
      { cause: error },
    )
  })
}
