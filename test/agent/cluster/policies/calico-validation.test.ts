// What Calico takes as valid is read whole: nothing of it is closed, but what this program cannot keep.
import { calicoPolicyOf } from '../../../../agent/cluster/policies/calico.ts'
import { calicoRuleOf } from '../../../../agent/cluster/policies/calico-rules.ts'
import { hostEndpoint, networkSetOf } from '../../../../agent/cluster/policies/endpoints.ts'
import { Faults } from '../../../../agent/cluster/policies/faults.ts'
import { stagedKubernetesPolicy } from '../../../../agent/cluster/policies/kubernetes.ts'
import { tierOf } from '../../../../agent/cluster/policies/tiers.ts'
import { testRows } from '../../../policy/corpora.ts'

type Value = { metadata?: { name?: string; namespace?: string }; spec?: Record<string, unknown> }
type Row = { name: string; type: string; valid: boolean; value: Value }
type Read = (object: { metadata: { name: string; namespace?: string }; spec: Record<string, unknown> }) => {
  refused: readonly { message: string }[]
}

const READERS: Readonly<Record<string, Read>> = {
  NetworkPolicy: object => calicoPolicyOf('NetworkPolicy', object),
  GlobalNetworkPolicy: object => calicoPolicyOf('GlobalNetworkPolicy', object),
  StagedNetworkPolicy: object => calicoPolicyOf('StagedNetworkPolicy', object),
  StagedGlobalNetworkPolicy: object => calicoPolicyOf('StagedGlobalNetworkPolicy', object),
  StagedKubernetesNetworkPolicy: stagedKubernetesPolicy,
  Tier: tierOf,
  NetworkSet: object => networkSetOf('NetworkSet', object, []),
  GlobalNetworkSet: object => networkSetOf('GlobalNetworkSet', object, []),
  HostEndpoint: object => hostEndpoint(object, []),
}

function told({ type, value }: Row): string[] {
  if (type === 'Rule') {
    const faults = new Faults()
    calicoRuleOf(value, { direction: 'ingress', namespace: 'n', path: 'rule', faults })
    return faults.problems.map(({ path, message }) => `${path}: ${message}`)
  }
  const { metadata = {}, spec = {} } = value
  const namespace = type.includes('Global') || ['Tier', 'HostEndpoint'].includes(type) ? {} : { namespace: 'n' }
  const { refused } = READERS[type]!({ metadata: { name: 'x', ...namespace, ...metadata }, spec })
  return refused.map(({ message }) => message)
}

testRows<Row>('nothing is told of what Calico takes, but of HTTP', 'calico-validation-even.ndjson', (t, all) => {
  const rows = all.filter(({ type }) => type === 'Rule' || type in READERS)
  const valid = rows.filter(row => row.valid)
  t.true(valid.length > 60)
  const wrong = valid.flatMap(row => told(row).map(message => `${row.type}, ${row.name}: ${message}`))
  t.deepEqual(
    wrong.filter(message => !message.includes('.http: ')),
    [],
  )
  // what is refused when it is written, but says something that can be kept, is kept
  const invalid = rows.filter(row => !row.valid)
  t.true(invalid.filter(row => told(row).length > 0).length > 45)
})
