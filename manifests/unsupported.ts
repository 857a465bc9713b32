// docs/unsupported.md from the table of fields without effect.
import { UNSUPPORTED } from '../api/unsupported.ts'

export function unsupportedText(): string {
  const rows = UNSUPPORTED.map(
    ({ kind, field, instead, comesWith }) =>
      `| ${kind} | ${field === '*' ? 'all' : `\`${field}\``} | ${instead} | ${comesWith} |`,
  )
  return `# Fields that have no effect yet

A manifest written for Calico applies unchanged: Margay keeps every field. These do nothing. A node that sees one set says
so in its condition \`FieldsSupported\`, and \`margayctl apply\`, \`create\`, \`replace\` and \`patch\` warn. Fields of configuration
objects that are not in the schema at all are told in the same way. \`npm run manifests\` writes this page from
\`api/unsupported.ts\`.

| kind | field of \`spec\` | what happens instead | comes with |
|---|---|---|---|
${rows.join('\n')}
`
}
