// `node checksystem`: whether this machine's kernel has what a node needs.
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode } from './failure.ts'
import { type Finding, kernelFindings } from './kernel-features.ts'
import { type Format, renderTable, show } from './render.ts'

export const checksystemCommand: Command = {
  name: 'node checksystem',
  summary: "Look whether this machine's kernel has what a node needs; exit code 1 when something required is missing",
  arguments: [],
  options: [
    { flags: '--kernel-config <file>', summary: "the kernel's build options, where they lie elsewhere" },
    { flags: '--root <folder>', summary: 'where the file system of the machine is, such as /host', default: '/' },
    outputOption,
  ],
  run: checksystem,
}

async function checksystem(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { root, kernelConfig } = options
  const findings = kernelFindings(String(root), typeof kernelConfig === 'string' ? kernelConfig : undefined)
  const missing = findings.filter(({ state, required }) => required && state === 'missing')
  context.out(show({ ok: missing.length === 0, findings }, options['output'] as Format, () => render(findings)))
  return missing.length === 0 ? EXIT.fine : EXIT.no
}

function render(findings: readonly Finding[]): string {
  return renderTable(
    ['FEATURE', 'STATE', 'FOUND', 'NEEDED', 'FOR', 'REMEDY'],
    findings.map(({ name, state, detail, required, use, remedy }) => [
      ...[name, state === 'ok' ? 'OK' : state, detail, required ? 'always' : 'sometimes', use, remedy],
    ]),
  )
}
