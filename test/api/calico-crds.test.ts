// The CRDs beside Calico's own, fact by fact (calico-crds.txt). Where they differ, the difference is named here with its reason.
import { readFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { crdKinds, crdOf } from '../../api/crd.ts'
import type { Kind } from '../../api/kinds.ts'
import type { Rule, Shape } from '../../api/shapes/shape.ts'

type Crd = {
  spec: {
    names: { plural: string; singular: string; shortNames?: string[] }
    scope: string
    versions: {
      subresources?: { status?: object }
      additionalPrinterColumns?: { name: string; jsonPath: string }[]
      schema: { openAPIV3Schema: Shape }
    }[]
  }
}

/** Kinds that are Margay's own. */
const OWN: readonly Kind[] = ['WorkloadEndpoint', 'PolicyReceipt', 'PolicyStatus']

const parts = readFileSync(new URL('calico-crds.txt', import.meta.url), 'utf8').split(/^## (\w+):.*$/m)
const part = (name: string): string[] => parts[parts.indexOf(name) + 1]!.trim().split('\n')

/** `a{b,c}` is `ab` and `ac`; a list of kinds before the first blank is one line each. */
function expanded(line: string): string[] {
  const [, kinds, rest] = /^(\S+) (.*)$/.exec(line)!
  const path = rest!.split(' ', 1)[0]!
  return kinds!.split(',').flatMap(kind => alternatives(path).map(each => `${kind} ${each}${rest!.slice(path.length)}`))
}

function alternatives(text: string): string[] {
  const found = /\{([^{}]*,[^{}]*)\}/.exec(text)
  if (found === null) return [text]
  const after = text.slice(found.index + found[0].length)
  return found[1]!.split(',').flatMap(each => alternatives(text.slice(0, found.index) + each + after))
}

/** Where ours say something else, and why. */
const DIFFERENT: readonly { line: RegExp; ours: string; because: string }[] = [
  {
    line: /^(BGPConfiguration spec.asNumber|BGPPeer spec.(asNumber|localASNumber)) integer format="int32"$/,
    ours: 'int-or-string',
    because: 'an AS number has 32 bits, and people write it as text too (RFC 5396)',
  },
  {
    line: /^(BGPConfiguration spec\.serviceExternalIPs\[\]\.cidr|IPReservation spec\.reservedCIDRs\[\]) string format="cidr"$/,
    ours: 'string',
    because: 'calicoctl takes an address alone too',
  },
  {
    line: /^BGPFilter \S+\.(asPathPrefix|prefix)\[\] integer format="int32"$/,
    ours: 'integer format="int64" maximum=4294967295 minimum=0',
    because: 'an AS number has 32 bits',
  },
  {
    line: /^FelixConfiguration spec\.bpfConntrackTimeouts\.\w+ string .*pattern=.*$/,
    ours: String.raw`string pattern="^([0-9]*(\\.[0-9]*)?(us|[smh]))+$|^Auto$"`,
    because: 'it takes the same texts, and linear time for each',
  },
  {
    line: /^IPPool spec\.allowedUses array/,
    ours: 'array list-type="atomic" maxItems=10',
    because: 'earlier CRDs took a use twice, and of a pool that has one, a set would refuse every write',
  },
  {
    line: /^IPReservation spec\.reservedCIDRs array/,
    ours: 'array list-type="atomic"',
    because: 'as IPPool spec.allowedUses',
  },
  {
    line: /^IPAMBlock spec\.strictAffinity boolean!$/,
    ours: 'boolean',
    because: 'nobody reads it any more, and a block without it is whole',
  },
  {
    line: /^BGPPeer spec\.reversePeering string$/,
    ours: 'string enum=["Auto","Manual"]',
    because: 'the facts leave out what two lists of values have in common',
  },
  {
    line: /^Tier spec\.defaultAction string default="Deny"$/,
    ours: 'string default="Deny" enum=["Pass","Deny"]',
    because: 'the facts leave out what two lists of values have in common',
  },
]

function ourLine(line: string): string {
  const different = DIFFERENT.find(each => each.line.test(line))
  return different === undefined ? line : `${line.split(' ', 2).join(' ')} ${different.ours}`
}

const versionOf = (kind: Kind) => (crdOf(kind) as unknown as Crd).spec.versions[0]!
const kinds = crdKinds().filter(kind => !OWN.includes(kind))

function* fieldsOf(shape: Shape, path: string): Generator<readonly [path: string, shape: Shape, required: boolean]> {
  const { properties = {}, required = [], items, additionalProperties } = shape
  for (const [name, field] of Object.entries(properties)) {
    const at = path === '' ? name : `${path}.${name}`
    if (path === '' && !['spec', 'status'].includes(name)) continue
    yield [at, field, required.includes(name)]
    yield* fieldsOf(field, at)
  }
  for (const [inner, mark] of [
    [items, '[]'],
    [additionalProperties, '{}'],
  ] as const)
    if (inner !== undefined) {
      yield [path + mark, inner, false]
      yield* fieldsOf(inner, path + mark)
    }
}

function factsOf(shape: Shape, required: boolean): string {
  const facts = Object.entries(shape).flatMap(([key, value]) => {
    const name = key.replace('x-kubernetes-', '')
    const isFact = ['string', 'number', 'boolean'].includes(typeof value) || ['enum', 'list-map-keys'].includes(name)
    const told = ['type', 'nullable', 'int-or-string', 'preserve-unknown-fields', 'minProperties', 'maxProperties']
    return isFact && !told.includes(name) ? [`${name}=${JSON.stringify(value)}`] : []
  })
  return [`${shape.type ?? 'int-or-string'}${required ? '!' : ''}`, ...facts.sort()].join(' ')
}

/** Tells only the lines that one side alone has. */
function sameLines(t: ExecutionContext, ours: readonly string[], calicos: readonly string[]): void {
  const [a, b] = [new Set(ours), new Set(calicos)]
  t.deepEqual(
    ours.filter(line => !b.has(line)),
    [],
    'ours alone',
  )
  t.deepEqual(
    calicos.filter(line => !a.has(line)),
    [],
    "Calico's alone",
  )
}

test("names, scope and status of every kind are Calico's", t => {
  const ours = kinds.map(kind => {
    const { names, scope } = (crdOf(kind) as unknown as Crd).spec
    const status = versionOf(kind).subresources?.status === undefined ? '' : ' status'
    return `${kind} ${names.plural} ${names.singular} ${names.shortNames?.join(',') ?? '-'} ${scope}${status}`
  })
  sameLines(t, ours, part('kinds'))
})

test("the columns that kubectl prints are Calico's", t => {
  const ours = kinds.flatMap(kind =>
    (versionOf(kind).additionalPrinterColumns ?? []).map(({ name, jsonPath }) => `${kind} ${jsonPath} ${name}`),
  )
  sameLines(t, ours, part('columns'))
})

test("every field of Calico's is there, with its type, bounds, default and list type", t => {
  const ours = kinds.flatMap(kind =>
    [...fieldsOf(versionOf(kind).schema.openAPIV3Schema, '')].map(
      ([path, shape, required]) => `${kind} ${path} ${factsOf(shape, required)}`,
    ),
  )
  sameLines(t, ours, part('fields').flatMap(expanded).map(ourLine))
})

test("every rule in CEL is Calico's, and what never changes is said once more for fields that may be absent", t => {
  const rulesOf = (shape: Shape): readonly Rule[] => shape['x-kubernetes-validations'] ?? []
  const isOurs = ({ rule }: Rule): boolean => /^has\(self\.\w+\) == has\(oldSelf\.\w+\)$/.test(rule)
  const ours = kinds.flatMap(kind => {
    const root = versionOf(kind).schema.openAPIV3Schema
    const all: (readonly [string, Shape])[] = [
      ['-', root],
      ...[...fieldsOf(root, '')].map(([path, shape]) => [path, shape] as const),
    ]
    return all.flatMap(([path, shape]) =>
      rulesOf(shape)
        .filter(rule => !isOurs(rule))
        .map(({ rule, message }) => `${kind} ${path} ${rule}${rule.includes('oldSelf') ? '' : ` => ${message}`}`),
    )
  })
  const calicos = part('rules')
    .flatMap(expanded)
    .map(line => (line.includes('oldSelf') ? line.replace(/ => .*/, '') : line))
  const added = [
    ...['BlockAffinity spec.cidr self == oldSelf', 'IPAMBlock spec.cidr self == oldSelf'],
    'IPPool spec.allowedUses self.all(use, self.exists_one(each, each == use)) => must name each use once',
  ]
  sameLines(t, ours, [...calicos, ...added])
})
