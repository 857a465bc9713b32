// What the verbs need of whoever writes the host side of pod interfaces and keeps it right. Felix fulfils it; the agent
// joins the two.

export type HostSide = {
  /**
   * Resolves when the host side of a published endpoint is in the kernel and was read back. Rejects with an error whose
   * message names the object and the cause when the kernel refuses it or another endpoint has its address or interface.
   */
  applied(endpointId: string): Promise<void>
  /** The rtm_protocol of the routes to pods (FelixConfiguration.deviceRouteProtocol). */
  routeProtocol(): number
  /** Whether an address leads to a pod of this node that has another one, by a route of its own. */
  isFloating(address: string): boolean
  /** Whether packets of pods are filtered: the settings that need it have their value only then. */
  podsFiltered(): boolean
  /**
   * What of the filter of pods' packets, of the part of one interface in it, and of its policies and limits is not in the kernel now as it
   * should be.
   * Empty where this kernel cannot have it. Rejects with `KernelError` when the kernel cannot be read.
   */
  filterDifferences(interfaceName: string): Promise<readonly FilterDifference[]>
}

/** `object` in the words of nft. */
export type FilterDifference = { object: string; is: 'missing' | 'changed' | 'added' }
