// The policies of a soak: each pod may ask whom it asks, and nothing else; nobody may ask it. Those that answer may be asked by pods.
import { addressBits, familyOf } from '../../lib/ip.ts'
import { ECHO_PORT } from './program.ts'

/** NetworkPolicies. `podSelector`: of the pods that answer; `outside`: the addresses of the host that does. */
export function policyObjects(
  podSelector: unknown,
  outside: readonly string[],
  podCidrs: readonly string[],
): { name: string; spec: unknown }[] {
  const block = (cidr: string) => ({ ipBlock: { cidr } })
  const hosts = outside.map(address => block(`${address}/${addressBits(familyOf(address))}`))
  const ports = [{ protocol: 'UDP', port: ECHO_PORT }]
  return [
    {
      name: 'soak',
      spec: {
        podSelector: { matchLabels: { app: 'soak' } },
        policyTypes: ['Ingress', 'Egress'],
        egress: [{ to: [{ podSelector }, ...hosts], ports }],
      },
    },
    {
      name: 'targets',
      spec: { podSelector, policyTypes: ['Ingress'], ingress: [{ from: podCidrs.map(block), ports }] },
    },
  ]
}
