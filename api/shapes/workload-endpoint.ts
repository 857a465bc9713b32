// WorkloadEndpoint: an object of its own only where there is no Kubernetes, so Calico has no CRD of it
// (libcalico-go/lib/apis/internalapi).
import { cidr, int64, type KindShape, list, meaning, numberOrText, object, once, set, text, whole } from './shape.ts'

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
      containerID: meaning('containerId'),
      pod: text(),
      'endpoint!': text(),
      serviceAccountName: text(),
      ipNetworks: list(meaning('network', cidr)),
      ipNATs: list(object({ 'internalIP!': meaning('address'), 'externalIP!': meaning('address') })),
      ipv4Gateway: meaning('addressV4'),
      ipv6Gateway: meaning('addressV6'),
      profiles: list(meaning('name')),
      'interfaceName!': meaning('interface'),
      mac: meaning('mac'),
      ports: list(
        object({
          name: meaning('portName'),
          'protocol!': meaning('protocol', numberOrText),
          'port!': whole,
          hostPort: whole,
          hostIP: text(),
        }),
      ),
      allowSpoofedSourcePrefixes: set(meaning('range')),
      qosControls: qos(),
    }),
  }),
)
