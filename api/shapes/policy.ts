// Policy: the four kinds with Calico's rules, Tier, the sets that rules name, and HostEndpoint.
import { withConditions } from './conditions.ts'
import {
  between,
  bool,
  byDefault,
  cel,
  type KindShape,
  list,
  mapOf,
  meaning,
  numberOrText,
  object,
  once,
  oneOf,
  type Rule,
  real,
  type Shape,
  selector,
  set,
  text,
} from './shape.ts'

function withoutGlobal(field: string): Rule {
  return cel(
    `!has(self.${field}) || !self.${field}.contains('global(')`,
    'global() can only be used in an EntityRule namespaceSelector',
    `.${field}`,
  )
}

const icmp = once(() =>
  object({ code: between(0, 255), type: between(0, 254) }, [
    cel('!has(self.code) || has(self.type)', 'ICMP code specified without an ICMP type', '.code'),
  ]),
)

const ports = list(meaning('ports', numberOrText), { maxItems: 50 })
const protocol = meaning('protocol', numberOrText)
const httpPath = meaning('httpPath', text(1024))

/** One side of a rule. */
const entity = once(() =>
  object(
    {
      namespaceSelector: meaning('namespaceSelector', text(1024)),
      nets: set(meaning('cidr'), { maxItems: 256 }),
      notNets: set(meaning('cidr'), { maxItems: 256 }),
      notPorts: ports,
      notSelector: selector,
      ports,
      selector,
      serviceAccounts: object({ names: set(meaning('name')), selector: meaning('selector') }),
      services: object({ name: meaning('name', text(253)), namespace: meaning('name', text(253)) }),
    },
    [
      withoutGlobal('selector'),
      cel(
        '!has(self.services) || !has(self.namespaceSelector) || size(self.namespaceSelector) == 0',
        'cannot specify NamespaceSelector and Services on the same rule',
        '.namespaceSelector',
      ),
      cel(
        '!has(self.services) || !has(self.serviceAccounts)',
        'cannot specify ServiceAccounts and Services on the same rule',
        '.serviceAccounts',
      ),
      cel(
        '!has(self.services) || size(self.services.name) > 0',
        'services must specify a service name',
        '.services.name',
      ),
      cel(
        '!has(self.services) || (!has(self.selector) || size(self.selector) == 0) && (!has(self.notSelector) || size(self.notSelector) == 0)',
        'cannot specify Selector/NotSelector and Services on the same rule',
        '.selector',
      ),
      cel(
        '!has(self.services) || (!has(self.nets) || size(self.nets) == 0) && (!has(self.notNets) || size(self.notNets) == 0)',
        'cannot specify Nets/NotNets and Services on the same rule',
        '.nets',
      ),
    ],
  ),
)

const rule = once(() =>
  object(
    {
      'action!': oneOf('Allow', 'Deny', 'Log', 'Pass'),
      destination: entity(),
      http: object({
        methods: list(text(), { maxItems: 20 }),
        paths: list(object({ exact: httpPath, prefix: httpPath }), { maxItems: 20 }),
      }),
      icmp: icmp(),
      ipVersion: { type: 'integer', enum: [4, 6] },
      metadata: object({ annotations: mapOf(text()) }),
      notICMP: icmp(),
      notProtocol: protocol,
      protocol,
      source: entity(),
    },
    [
      cel(
        "!has(self.http) || !has(self.protocol) || self.protocol == 'TCP' || self.protocol == 6",
        'rules with HTTP match must have protocol TCP or unset',
        '.protocol',
      ),
      cel("self.action == 'Allow' || !has(self.http)", 'HTTP match is only valid on Allow rules', '.http'),
      cel(
        '!has(self.destination) || !has(self.destination.services) || (!has(self.destination.ports) || size(self.destination.ports) == 0) && (!has(self.destination.notPorts) || size(self.destination.notPorts) == 0)',
        'ports and notPorts cannot be specified with services',
        '.destination.services',
      ),
      cel(
        "!has(self.icmp) || (has(self.protocol) && (self.protocol == 'ICMP' || self.protocol == 'ICMPv6' || self.protocol == 1 || self.protocol == 58))",
        'ICMP fields require protocol to be ICMP or ICMPv6',
        '.icmp',
      ),
      ...['protocol', 'notProtocol'].flatMap(field => [
        ofVersion(field, { name: 'ICMP', number: 1, version: 4 }),
        ofVersion(field, { name: 'ICMPv6', number: 58, version: 6 }),
      ]),
    ],
  ),
)

function ofVersion(field: string, { name, number, version }: { name: string; number: number; version: 4 | 6 }): Rule {
  return cel(
    `(!has(self.${field}) || (self.${field} != '${name}' && self.${field} != ${number})) || !has(self.ipVersion) || self.ipVersion == ${version}`,
    `protocol ${name} requires ipVersion ${version}`,
    '.ipVersion',
  )
}

const rules = once(() => list(rule(), { maxItems: 1024 }))

/** What a policy has in a namespace or without, staged or not. */
const common = once(() => ({
  egress: rules(),
  ingress: rules(),
  order: real,
  performanceHints: set(oneOf('AssumeNeededOnEveryNode')),
  selector,
  serviceAccountSelector: selector,
  tier: byDefault(text(), 'default'),
  types: set(oneOf('Ingress', 'Egress'), { maxItems: 2, minItems: 1 }),
}))

const ofAll = once(() => ({
  ...common(),
  applyOnForward: bool,
  doNotTrack: bool,
  namespaceSelector: selector,
  preDNAT: bool,
}))

const COMMON_RULES = [withoutGlobal('selector'), withoutGlobal('serviceAccountSelector')]

const RULES_OF_ALL = [
  cel(
    '!((has(self.doNotTrack) && self.doNotTrack) && (has(self.preDNAT) && self.preDNAT))',
    'preDNAT and doNotTrack cannot both be true',
    '.preDNAT',
  ),
  cel(
    '(!has(self.preDNAT) || !self.preDNAT) || !has(self.egress) || size(self.egress) == 0',
    'preDNAT policy cannot have any egress rules',
    '.egress',
  ),
  cel(
    "(!has(self.preDNAT) || !self.preDNAT) || !has(self.types) || !self.types.exists(t, t == 'Egress')",
    "preDNAT policy cannot have 'Egress' type",
    '.types',
  ),
  cel(
    '(has(self.applyOnForward) && self.applyOnForward) || ((!has(self.doNotTrack) || !self.doNotTrack) && (!has(self.preDNAT) || !self.preDNAT))',
    'applyOnForward must be true if either preDNAT or doNotTrack is true',
    '.applyOnForward',
  ),
  ...COMMON_RULES,
  withoutGlobal('namespaceSelector'),
]

/** What a staged policy would do when it is applied. */
export const stagedAction: Shape = byDefault(oneOf('Set', 'Delete', 'Learn', 'Ignore'), 'Set')

export const networkPolicy = once((): KindShape => ({ spec: object(common(), COMMON_RULES) }))

export const globalNetworkPolicy = once((): KindShape => ({ spec: object(ofAll(), RULES_OF_ALL) }))

export const stagedNetworkPolicy = once(
  (): KindShape => ({ spec: object({ ...common(), stagedAction }, COMMON_RULES) }),
)

export const stagedGlobalNetworkPolicy = once(
  (): KindShape => ({ spec: object({ ...ofAll(), stagedAction }, RULES_OF_ALL) }),
)

/** The tiers that every cluster has. */
const TIERS = [
  { name: 'kube-admin', action: 'Pass', order: 1000 },
  { name: 'kube-baseline', action: 'Pass', order: 10000000 },
  { name: 'default', action: 'Deny', order: 1000000 },
] as const

export const tier = once(
  (): KindShape => ({
    spec: object({ defaultAction: byDefault(oneOf('Pass', 'Deny'), 'Deny'), order: real }),
    status: withConditions(),
    rules: [
      ...TIERS.map(({ name, action }) =>
        cel(
          `self.metadata.name == '${name}' ? (has(self.spec.defaultAction) && self.spec.defaultAction == '${action}') : true`,
          `The '${name}' tier must have default action '${action}'`,
          '.spec.defaultAction',
        ),
      ),
      ...TIERS.map(({ name, order }) =>
        cel(
          `self.metadata.name != '${name}' || (has(self.spec.order) && self.spec.order == ${order}.0)`,
          `${name} tier order must be ${order}`,
          '.spec.order',
        ),
      ),
    ],
  }),
)

/** Of NetworkSet and GlobalNetworkSet. */
export const networkSet = once((): KindShape => ({ spec: object({ nets: set(meaning('range')) }) }))

export const hostEndpoint = once(
  (): KindShape => ({
    spec: object(
      {
        expectedIPs: set(meaning('address')),
        interfaceName: meaning('interface', text(15)),
        node: meaning('name', text(253)),
        ports: list(object({ 'name!': meaning('portName'), 'port!': between(1, 65535), 'protocol!': protocol })),
        profiles: set(meaning('name')),
      },
      [
        cel(
          '(has(self.interfaceName) && size(self.interfaceName) > 0) || (has(self.expectedIPs) && size(self.expectedIPs) > 0)',
          'at least one of interfaceName or expectedIPs must be specified',
          '.interfaceName',
        ),
        cel('has(self.node) && size(self.node) > 0', 'node must be specified', '.node'),
      ],
    ),
  }),
)
