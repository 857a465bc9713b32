// Objects as YAML, one document each, with the reasons for capabilities and volumes as comments before them.
import { stringify } from 'yaml'
import type { ManifestObject } from './names.ts'
import { CAPABILITIES, VOLUMES } from './node.ts'
import { REMOVE_CAPABILITIES, REMOVE_VOLUMES } from './remove.ts'

export type Reasons = Readonly<Record<string, string>>

const START = '# Written by `npm run manifests` from manifests/ and api/; do not edit.\n'

const SHARED: Reasons = {
  'hostNetwork: true': 'it makes the network of the pods, and must run before there is one',
  'type: spc_t': 'without effect where SELinux is off: the folders of the host have labels of the host',
  'automountServiceAccountToken: false': 'containers that need the token mount it themselves',
}

export const NODE_REASONS: Reasons = { ...SHARED, ...lines(CAPABILITIES, VOLUMES) }
export const REMOVE_REASONS: Reasons = { ...SHARED, ...lines(REMOVE_CAPABILITIES, REMOVE_VOLUMES) }

/** `head`: what the file is, for the reader of its first lines. */
export function yamlText(head: string, objects: readonly ManifestObject[], reasons: Reasons = {}): string {
  const comment = head
    .split('\n')
    .map(line => `# ${line}\n`)
    .join('')
  return START + comment + objects.map(object => `---\n${documentText(object, reasons)}`).join('')
}

/** One object. A reason stands before the line that it is for, where that is a volume once in the list of volumes. */
export function documentText(object: ManifestObject, reasons: Reasons = {}): string {
  const text = stringify(object, { aliasDuplicateObjects: false, lineWidth: 0, version: '1.1' })
  let isVolumes = false
  return text
    .split('\n')
    .flatMap(line => {
      const [indent = ''] = /^ */.exec(line) ?? []
      const content = line.trim()
      if (/^\w/.test(content) && !content.startsWith('- '))
        isVolumes = content === 'volumes:' || (isVolumes && indent.length > 6)
      const reason = reasons[content]
      const applies = reason !== undefined && (!content.startsWith('- name: ') || isVolumes)
      return applies ? [`${indent}# ${reason}`, line] : [line]
    })
    .join('\n')
}

function lines(capabilities: Reasons, volumes: Reasons): Reasons {
  return Object.fromEntries([
    ...Object.entries(capabilities).map(([name, why]) => [`- ${name}`, why]),
    ...Object.entries(volumes).map(([name, why]) => [`- name: ${name}`, why]),
  ])
}
