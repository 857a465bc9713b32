// The Helm chart: the same objects with templates in the place of settings. Its values, their defaults and their schema are one
// table. The CRDs lie where Helm makes them before everything else, so that pools can be among the templates; Helm neither
// changes nor deletes them later (docs/install.md).
import { stringify } from 'yaml'
import type { ApiGroup } from '../api/api-group.ts'
import { packageVersion } from '../lib/package-files.ts'
import { CONFIG, configMap } from './config.ts'
import { controllersBudget, controllersDeployment } from './controllers.ts'
import { crdsText, ownCrdsText } from './crds.ts'
import { type ManifestObject, NAMES, type Settings, usualSettings } from './names.ts'
import { nodeDaemonSet } from './node.ts'
import { accountObjects } from './rbac.ts'
import { removeObjects } from './remove.ts'
import { RIGHTS, rightsIn } from './rights.ts'
import { documentText, NODE_REASONS, REMOVE_REASONS, type Reasons } from './text.ts'
import { warningObjects } from './warnings.ts'

type Value = { is: string; schema: Record<string, unknown>; default: unknown }
type Values = { readonly [name: string]: Value | Values }

const text = (is: string, value: string, more: object = {}): Value => ({
  ...{ is, default: value },
  schema: { type: 'string', minLength: 1, ...more },
})
const oneOf = (is: string, value: string, values: readonly string[]): Value => ({
  ...{ is, default: value },
  schema: { type: 'string', enum: values },
})
const usual = usualSettings()
const PATH = { pattern: '^/' }

const VALUES: Values = {
  image: text('the image with its version', usual.image),
  imagePullPolicy: oneOf('when nodes pull it', usual.pullPolicy, ['IfNotPresent', 'Always', 'Never']),
  cni: {
    binDir: text('where the runtime of a node looks for plugins', usual.cniBinDir, PATH),
    confDir: text('where it looks for networks', usual.cniConfDir, PATH),
    confName: text('the file of this network', usual.cniConfName, { pattern: '^[\\w.-]+\\.conflist$' }),
  },
  calicoCrds: {
    is: 'whether the cluster has Calico’s own CRDs, which are used then; install with --skip-crds (docs/api-groups.md)',
    default: false,
    schema: { type: 'boolean' },
  },
  maxUnavailable: text('nodes that are without their agent at once during an upgrade', usual.maxUnavailable, {
    pattern: '^[0-9]+%$',
  }),
  controllers: {
    replicas: {
      is: 'one of them leads; two never share a node',
      default: 2,
      schema: { type: 'integer', minimum: 1, maximum: 5 },
    },
  },
  config: {
    nodeIp: text('auto, an address, or how it is chosen: margay-node --help', CONFIG.nodeIp),
    nodeIp6: text('the same for IPv6', CONFIG.nodeIp6),
    firstPools: text('of a cluster without a pool: kubeadm (its podSubnet), ranges, or none', CONFIG.firstPools),
    logLevel: oneOf('of all programs', CONFIG.logLevel, ['trace', 'debug', 'info', 'warn', 'error']),
    network: text('name of the network in the runtime’s configuration', CONFIG.network),
    chainedPlugins: oneOf('plugins behind ours, where a node has them', CONFIG.chainedPlugins, [
      ...['portmap,bandwidth', 'portmap', 'bandwidth', 'none'],
    ]),
    besideOtherNetworks: oneOf('install where another network is', CONFIG.besideOtherNetworks, ['yes', 'no']),
  },
  apiServer: {
    host: { is: 'the API server’s own address, without kube-proxy', default: '', schema: { type: 'string' } },
    port: { is: 'its port', default: '', schema: { type: ['string', 'integer'], pattern: '^[0-9]*$' } },
  },
  pools: {
    is: 'IPPools: name, and spec as in docs/install.md',
    default: [],
    schema: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'spec'],
        additionalProperties: false,
        properties: {
          name: { type: 'string', minLength: 1 },
          spec: { type: 'object', required: ['cidr'], properties: { cidr: { type: 'string' } } },
        },
      },
    },
  },
  remove: {
    is: 'takes the network off every node, before helm uninstall',
    default: false,
    schema: { type: 'boolean' },
  },
}

const value = (path: string): string => `{{ .Values.${path} }}`

/** The objects' settings as templates. */
const TEMPLATES: Settings = {
  image: value('image'),
  pullPolicy: value('imagePullPolicy'),
  namespace: '{{ .Release.Namespace }}',
  cniBinDir: value('cni.binDir'),
  cniConfDir: value('cni.confDir'),
  cniConfName: value('cni.confName'),
  maxUnavailable: value('maxUnavailable'),
}

const HEAD = '# Written by `npm run manifests`; do not edit.\n'

/** The files of the chart by their paths in it. */
export function chartFiles(): Map<string, string> {
  const documents = (objects: readonly ManifestObject[], reasons: Reasons = {}): string =>
    objects.map(object => `---\n${quoting(documentText(object, reasons))}`).join('')
  const given = Object.keys(CONFIG).filter(key => key !== 'apiGroup')
  const data = Object.fromEntries(given.map(key => [key, value(`config.${key}`)]))
  const accounts = (group: ApiGroup): string =>
    documents([
      ...accountObjects(NAMES.node, rightsIn(group, RIGHTS.node), TEMPLATES),
      ...accountObjects(NAMES.controllers, rightsIn(group, RIGHTS.controllers), TEMPLATES),
    ])
  const version = packageVersion()
  return new Map([
    [
      'Chart.yaml',
      HEAD +
        stringify({
          ...{ apiVersion: 'v2', name: 'margay', version, appVersion: version, type: 'application' },
          ...{ description: 'A routed cluster network with its own BGP speaker', kubeVersion: '>=1.31.0-0' },
        }),
    ],
    ['values.yaml', HEAD + valuesText(VALUES)],
    [
      'values.schema.json',
      `${JSON.stringify({ $schema: 'http://json-schema.org/draft-07/schema#', ...schemaOf(VALUES) }, undefined, 2)}\n`,
    ],
    ['crds/crds.yaml', crdsText()],
    ['templates/crds.yaml', byCrds(ownCrdsText(), '')],
    ['templates/accounts.yaml', byCrds(accounts('v1'), accounts('v3'))],
    [
      'templates/config.yaml',
      documents([configMap(TEMPLATES, data)]) + byCrds('  apiGroup: v1\n', '  apiGroup: v3\n') + API_SERVER_KEYS,
    ],
    [
      'templates/node.yaml',
      `{{- if .Values.remove }}\n${documents(removeObjects(TEMPLATES), REMOVE_REASONS)}{{- else }}\n${documents([nodeDaemonSet(TEMPLATES)], NODE_REASONS)}{{- end }}\n`,
    ],
    [
      'templates/controllers.yaml',
      documents([controllersDeployment(TEMPLATES), controllersBudget(TEMPLATES)]).replace(
        'replicas: 2',
        `replicas: ${value('controllers.replicas')}`,
      ),
    ],
    ['templates/warnings.yaml', documents(warningObjects())],
    ['templates/pools.yaml', POOLS],
  ])
}

/** A value with a quotation mark or a backslash, as in a regular expression, needs more than quotation marks around it. */
function quoting(text: string): string {
  return text.replace(/"\{\{ (\.Values\.[\w.]+) \}\}"/g, '{{ $1 | quote }}')
}

function byCrds(calicos: string, ours: string): string {
  return `{{- if .Values.calicoCrds }}\n${calicos}{{- else }}\n${ours}{{- end }}\n`
}

const API_SERVER_KEYS = `{{- with .Values.apiServer.host }}
  apiServerHost: {{ . | quote }}
{{- end }}
{{- with .Values.apiServer.port }}
  apiServerPort: {{ . | quote }}
{{- end }}
`

const POOLS = `{{- range .Values.pools }}
---
apiVersion: {{ if $.Values.calicoCrds }}crd.projectcalico.org/v1{{ else }}projectcalico.org/v3{{ end }}
kind: IPPool
metadata:
  name: {{ .name | quote }}
spec:
  {{- toYaml .spec | nindent 2 }}
{{- end }}
`

function isValue(each: Value | Values): each is Value {
  return 'schema' in each && 'is' in each
}

function valuesText(values: Values, indent = ''): string {
  return Object.entries(values)
    .map(([name, each]) => {
      if (!isValue(each)) return `${indent}${name}:\n${valuesText(each, `${indent}  `)}`
      const [line = ''] = stringify({ [name]: each.default }, { version: '1.1', lineWidth: 0 })
        .trimEnd()
        .split('\n')
      return `${indent}# ${each.is}\n${indent}${line}\n`
    })
    .join('')
}

function schemaOf(values: Values): Record<string, unknown> {
  return {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.entries(values).map(([name, each]) => [
        name,
        isValue(each) ? { description: each.is, ...each.schema } : schemaOf(each),
      ]),
    ),
  }
}
