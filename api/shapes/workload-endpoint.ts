// WorkloadEndpoint: an object of its own only where there is no Kubernetes, so Calico has no CRD of it
// (libcalico-go/lib/apis/internalapi).
import { cidr, int64, type KindShape, list, numberOrText, object, once, set, text, whole } from './shape.ts'

const qos = once(() => {
  const names = ['Bandwidth', 'Burst', 'Peakrate', 'Minburst', 'PacketRate', 'PacketBurst', 'MaxConnections']
  const fields = names.flatMap(name => [`ingress${name}`, `egress${name}`])
  return object({ ...Object.fromEntries(fields.map(name => [name, int64])), dscp: numberOrText })
})

export const workloadEndpoint = once(
  (): KindShape => ({
    spec: object({
      'orchestrator!': text(),
      workload: text(),
      'node!': text(),
      containerID: text(),
      pod: text(),
      'endpoint!': text(),
      serviceAccountName: text(),
      ipNetworks: list(cidr),
      ipNATs: list(object({ 'internalIP!': text(), 'externalIP!': text() })),
      ipv4Gateway: text(),
      ipv6Gateway: text(),
      profiles: list(text()),
      'interfaceName!': text(),
      mac: text(),
      ports: list(object({ name: text(), 'protocol!': numberOrText, 'port!': whole, hostPort: whole, hostIP: text() })),
      allowSpoofedSourcePrefixes: set(text()),
      qosControls: qos(),
    }),
  }),
)
