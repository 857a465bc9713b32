// The conditions that the agent itself reports, in words. Pure.
import { broken, type Condition } from '../../api/status.ts'

export const DISCONNECTED: Condition = broken('ApiServerConnected', {
  reason: 'Disconnected',
  message: 'the API server does not answer; this node works from what it saw last',
  remedy: 'check that the API server runs and that the kubeconfig is right',
})
