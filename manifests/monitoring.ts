// What an operator with Prometheus and Grafana may apply beside the installation: Services that name the ports of the metrics,
// and the dashboard as a ConfigMap with the label that Grafana's sidecar looks for.
import { NODE_METRICS_PORT } from '../api/metrics.ts'
import { dashboardText } from './dashboard.ts'
import { labelsOf, type ManifestObject, NAMES, type Settings } from './names.ts'

/** That of KubeControllersConfiguration is as docs/observe.md sets it. */
const PORTS = { [NAMES.node]: NODE_METRICS_PORT, [NAMES.controllers]: 9094 }

export function monitoringObjects(settings: Settings): ManifestObject[] {
  const services = Object.entries(PORTS).map(([name, port]) => metricsService(name, port, settings))
  return [...services, dashboardMap(settings)]
}

/** Without an address of its own: each pod behind it is scraped. */
function metricsService(name: string, port: number, { namespace }: Settings): ManifestObject {
  const labels = labelsOf(name)
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `${name}-metrics`, namespace, labels },
    spec: { clusterIP: 'None', selector: labels, ports: [{ name: 'metrics', port, targetPort: port }] },
  }
}

function dashboardMap({ namespace }: Settings): ManifestObject {
  const labels = { ...labelsOf('margay-dashboard'), grafana_dashboard: '1' }
  const metadata = { name: 'margay-dashboard', namespace, labels }
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'margay.json': dashboardText() } }
}
