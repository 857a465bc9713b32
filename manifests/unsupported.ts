// docs/unsupported.md from the table of fields without effect.
import { UNREAD } from '../api/unread.ts'
import { OF_ONE_NODE, UNSUPPORTED, UNSUPPORTED_KINDS } from '../api/unsupported.ts'

export function unsupportedText(): string {
  const rows = UNSUPPORTED.map(
    ({ kind, field, effect, instead, comesWith }) =>
      `| ${kind} | ${field === '*' ? 'all' : `\`${field}\``} | ${effect} | ${instead} | ${comesWith} |`,
  )
  const groups = UNREAD.map(
    ({ kind, names, guards, instead, comesWith }) =>
      `| ${kind} | ${names.map(name => `\`${name}\``).join(', ')} | ${guards ? 'unenforced' : 'ignored'} | ${instead} | ${comesWith} |`,
  )
  const missing = Object.entries(UNSUPPORTED_KINDS).map(
    ([kind, { instead, comesWith }]) => `| ${kind} | ${instead} | ${comesWith} |`,
  )
  const ofOneNode = Object.entries(OF_ONE_NODE)
    .map(([kind, { fields }]) => `${fields.map(field => `\`${field}\``).join(', ')} of a ${kind}`)
    .join(', and ')
  return `# Fields that have no effect yet

A manifest written for Calico applies unchanged: Margay keeps every field. These do nothing. A field that is
*ignored* leaves the rest of the object as it is; one that is *closed* is set for safety, so what it should guard is not done
at all while it is set. What is *unenforced* is kept and shown, and nobody keeps to it: margay-api and \`margayctl\` warn of each one, and so does a Kubernetes API server of kinds and parts of policies. A node that sees one set says so in its condition \`FieldsSupported\`, and \`margayctl apply\`, \`create\`, \`replace\` and \`patch\` warn. Fields of configuration
objects that are not in the schema at all are told in the same way. Of configuration objects only the one named \`default\` counts, and for one
node, under the name \`node.NAME\`, ${ofOneNode}. \`npm run manifests\` writes this page from
\`api/unsupported.ts\`.

| kind | field of \`spec\` | effect | what happens instead | comes with |
|---|---|---|---|---|
${rows.join('\n')}
${groups.join('\n')}

# What of policy is enforced

On pods: NetworkPolicy of Kubernetes; NetworkPolicy and GlobalNetworkPolicy of Calico with tiers, sets of networks, rules by service account, Service, ICMP and ports, and the profiles of namespaces and service accounts;
ClusterNetworkPolicy v1alpha2 of the standard channel, and its peers \`nodes\` and \`domainNames\`. Staged policies are evaluated and counted in the kernel, and never enforced.

On the interfaces of hosts: HostEndpoints with \`applyOnForward\`, \`preDNAT\`, \`doNotTrack\` and failsafe ports ([policy.md](policy.md)).

Not yet: rules by HTTP (they are closed); a rule \`Log\` tells of its packets by \`margayctl flows\` and writes nothing to the log of the kernel.
Connections that stand are cut when a policy denies them, unless an annotation keeps them. AdminNetworkPolicy and BaselineAdminNetworkPolicy are not read: ClusterNetworkPolicy took their place. What a node cannot keep of a
policy is closed, and its condition \`PoliciesEnforced\` says where and why.

# Kinds that are refused

\`margayctl\` refuses a manifest that has one, as an API server never holds it.

| kind | what holds without it | comes with |
|---|---|---|
${missing.join('\n')}
`
}
