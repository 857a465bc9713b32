// The allocator's keys of pods whose interface another plugin makes. What is known of such a pod is in its handle and attributes alone,
// in the journal and in the block: nothing in the kernel is ours.
import type { Allocator } from '../../ipam/port.ts'
import { PLUGIN_HANDLE, PLUGIN_TYPE } from '../../ipam/port.ts'
import { handleOf, parseHandle } from '../interface-name.ts'
import type { Attachment, PodName } from '../request.ts'

/**
 * Of one pod: `pod` of Kubernetes where the runtime told it. `createdMs`: milliseconds since the Unix epoch; `boot`: of which boot it is;
 * `isOnLan`: the gateway of its address is none of ours.
 */
export type PluginPod = Attachment & {
  handle: string
  network: string
  pod?: PodName
  createdMs: number
  boot: string | undefined
  isOnLan: boolean
}

/** No handle of our own interfaces is one of these: a network's name has no slash. */
export function pluginHandleOf(network: string, attachment: Attachment): string {
  return `${PLUGIN_HANDLE}${handleOf(network, attachment)}`
}

/** Every pod of another plugin that has addresses. */
export function pluginPods(ipam: Pick<Allocator, 'held' | 'holder'>): PluginPod[] {
  return [...ipam.held().keys()].flatMap(handle => {
    if (!handle.startsWith(PLUGIN_HANDLE)) return []
    const {
      type,
      namespace,
      pod: name,
      timestamp,
      boot,
      network: ofLan,
    } = (ipam.holder(handle) ?? {}) as Partial<Record<string, string>>
    const named = parseHandle(handle.slice(PLUGIN_HANDLE.length))
    if (type !== PLUGIN_TYPE.pod || named === undefined) return []
    const pod = namespace === undefined || name === undefined ? undefined : { namespace, name }
    const createdMs = Date.parse(timestamp ?? '') || 0
    return [{ ...named, handle, boot, createdMs, isOnLan: ofLan !== undefined, ...(pod && { pod }) }]
  })
}

/** When each interface of a container got its addresses that another plugin made, by handle. */
export function createdByPlugin(containerID: string, ipam: Pick<Allocator, 'held' | 'holder'>): [string, number][] {
  const its = pluginPods(ipam).filter(each => each.containerID === containerID)
  return its.map(({ handle, createdMs }) => [handle, createdMs])
}
