// The policies of a soak: each pod may ask whom it asks, and nothing else; nobody may ask it. Those that answer may be asked by pods.
import { ECHO_PORT } from './program.ts'

/** NetworkPolicies. `podSelector`: of the pods that answer. */
export function policyObjects(
  podSelector: unknown,
  outside: string,
  podCidr: string,
): { name: string; spec: unknown }[] {
  const ports = [{ protocol: 'UDP', port: ECHO_PORT }]
  return [
    {
      name: 'soak',
      spec: {
        podSelector: { matchLabels: { app: 'soak' } },
        policyTypes: ['Ingress', 'Egress'],
        egress: [{ to: [{ podSelector }, { ipBlock: { cidr: `${outside}/32` } }], ports }],
      },
    },
    {
      name: 'targets',
      spec: { podSelector, policyTypes: ['Ingress'], ingress: [{ from: [{ ipBlock: { cidr: podCidr } }], ports }] },
    },
  ]
}
