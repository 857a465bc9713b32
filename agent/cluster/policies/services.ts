// What is behind a Service, by its EndpointSlices, for rules that name Services. Pure. Endpoints that are not ready count: a
// rule must not close a connection because a probe failed.
import { SERVICE_NAME } from '../../../api/core.ts'
import type { Resource } from '../../../api/kinds.ts'
import { protocolNumber } from '../../../api/ports.ts'
import type { Policy, PolicyRule, ServiceEndpoints } from '../../../felix/policy/model.ts'
import { parseAddress } from '../../../lib/ip.ts'
import { closedRule } from './faults.ts'

/** The key of the Service that a slice belongs to, `namespace/name`; undefined of one that belongs to none. */
export function serviceOf({
  metadata: { namespace = '', labels = {} },
}: Resource<'EndpointSlice'>): string | undefined {
  const name = labels[SERVICE_NAME] ?? ''
  return name === '' ? undefined : `${namespace}/${name}`
}

/** Of an endpoint without ports: no packet has it, so such an endpoint counts as a source alone. */
const NO_PORT = { protocol: 6, port: 0 } as const

/** All endpoints of the slices of one Service, sorted, each once. Names of hosts are no addresses. */
export function serviceEndpoints(slices: readonly Resource<'EndpointSlice'>[]): ServiceEndpoints {
  const found = new Map<string, ServiceEndpoints['addresses'][number]>()
  for (const { endpoints = [], ports = [] } of slices) {
    const served = ports.flatMap(({ port, protocol: word = 'TCP' }) => {
      const protocol = protocolNumber(word)
      return port === undefined || protocol === undefined ? [] : [{ protocol, port }]
    })
    for (const text of endpoints.flatMap(({ addresses = [] }) => addresses)) {
      const address = parseAddress(text)
      if (address === undefined) continue
      for (const at of served.length === 0 ? [NO_PORT] : served)
        found.set(`${address} ${at.protocol} ${at.port}`, { address, ...at })
    }
  }
  return { addresses: [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each) }
}

/** Whether a rule of it names a Service. */
export function namesService({ ingress = [], egress = [] }: Policy): boolean {
  return [...ingress, ...egress].some(byService)
}

/** Whether a rule of it names domains. */
export function namesDomains({ ingress = [], egress = [] }: Policy): boolean {
  return [...ingress, ...egress].some(({ destination }) => destination.domains !== undefined)
}

/** The policy while nobody knows what is behind Services: a rule that names one accepts nothing, and denies all where it denies. */
export function closedByService({ ingress, egress, ...policy }: Policy): Policy {
  const closed = (rules: readonly PolicyRule[]) => rules.map(rule => (byService(rule) ? closedRule(rule.action) : rule))
  return { ...policy, ...(ingress && { ingress: closed(ingress) }), ...(egress && { egress: closed(egress) }) }
}

function byService({ source, destination }: PolicyRule): boolean {
  return source.service !== undefined || destination.service !== undefined
}
