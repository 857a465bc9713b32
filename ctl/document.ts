// docs/margayctl.md from the table of commands.
import { type Kind, type KindRow, kindNamed, kinds } from '../api/kinds.ts'
import type { Command, CommandOption } from './command.ts'
import { commands } from './commands.ts'
import { globalOptions } from './connection.ts'

const INTRODUCTION = `# margayctl
<!-- Written from the table of commands by \`npm run manifests\`; a test compares it. -->

\`margayctl\` shows and changes the resources of Margay, and asks nodes how they are. Where its file is also called \`kubectl-margay\` on the PATH (the
package does that), \`kubectl margay get ippools\` is the same as \`margayctl get ippools\`; \`kubectl_complete-margay\` completes its words in kubectl's shells.

It finds the API server as kubectl does: \`--kubeconfig\`, \`$KUBECONFIG\`, \`~/.kube/config\`, in a pod its service account; \`--context\`, \`--cluster\`, \`--user\` and \`-n\` choose in the kubeconfig.
\`--config\` takes a configuration file of calicoctl with \`datastoreType: kubernetes\`. Commands with \`--socket\` ask the program on this machine.

Exit codes: 0 fine, 1 the answer is no (not there, refused, not ready), 2 wrong usage or a wrong manifest, 3 nobody answered. Messages go to standard error and name the object, the cause and the remedy.

## Formats
\`-o\` of the commands on resources: \`table\` (also \`ps\`), \`wide\`, \`yaml\`, \`json\`, \`name\`, \`jsonpath=\`, \`jsonpath-file=\`, \`jsonpath-as-json=\`, \`go-template=\`, \`go-template-file=\`,
\`custom-columns=\` (\`NAME:.metadata.name\` as kubectl, or names of columns as calicoctl), \`custom-columns-file=\`. JSONPath and Go templates print what kubectl prints; of Go's language \`define\`,
\`template\`, \`block\`, \`call\`, \`html\` and \`js\` are refused. Templates see objects as JSON has them (\`.metadata.name\`), not Go's names of calicoctl (\`.ObjectMeta.Name\`).

## Coming from calicoctl
Manifests of \`projectcalico.org/v3\` apply unchanged. The same words: \`get\` (\`-o ps\`, \`--export\`), \`apply\`, \`create --skip-exists\`, \`replace\`, \`delete --skip-not-exists\`, \`patch -p\`, \`label --remove\`, \`ipam\`, \`node status\`,
\`node checksystem\`, \`cluster diags\`, \`datastore migrate export|import|lock|unlock\` (\`migrate\` may be left out), \`--config\`, \`--allow-version-mismatch\` (versions are not compared).
What differs: a patch is a merge patch unless \`--type\` says otherwise, \`apply\` leaves fields alone that the manifest does not name, and results are told as kubectl tells them.
`

/** The whole document, ending with a newline. */
export function documentText(): string {
  const visible = commands.filter(({ hidden }) => hidden !== true)
  return [
    INTRODUCTION,
    `## Kinds\n${kindsTable()}`,
    `## Options of every command\n${optionsTable(globalOptions)}`,
    `## Commands\n${visible.map(section).join('\n')}`,
  ].join('\n')
}

function kindsTable(): string {
  const rows = (Object.entries(kinds) as [Kind, KindRow][]).map(
    ([kind, { plural, singular, shortNames, aliases = [], namespaced }]) => {
      const own = kindNamed(plural) === kind ? [plural, singular] : [kind.toLowerCase()]
      const words = [...new Set([...own, ...shortNames, ...aliases])].map(name => `\`${name}\``)
      return `| ${kind} | ${words.join(' ')} | ${namespaced ? 'yes' : 'no'} |`
    },
  )
  return ['| kind | words | namespaced |', '|---|---|---|', ...rows, ''].join('\n')
}

function section({ name, summary, arguments: words, options }: Command): string {
  const usage = ['margayctl', name, ...words.map(word => word.name), ...(options.length > 0 ? ['[options]'] : [])]
  const given = words.map(word => `| \`${word.name}\` | ${cell(word.summary)} |`)
  const rows = options.map(optionRow)
  const table = [...given, ...rows]
  return [
    `### ${name}`,
    `${summary}.`,
    '```',
    usage.join(' '),
    '```',
    ...(table.length > 0 ? ['| | |', '|---|---|', ...table] : []),
    '',
  ].join('\n')
}

function optionsTable(options: readonly CommandOption[]): string {
  return ['| | |', '|---|---|', ...options.map(optionRow), ''].join('\n')
}

function optionRow({ flags, summary, default: byDefault, choices }: CommandOption): string {
  const values = choices === undefined ? '' : `; one of ${choices.join(', ')}`
  const without = byDefault === undefined ? '' : `; default ${byDefault}`
  return `| \`${flags}\` | ${cell(summary + values + without)} |`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
