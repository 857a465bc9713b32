// `node diags`: one archive with what a node's agent and its kernel say, for somebody who helps from afar. `cluster diags` has the same
// of each node. Secrets are removed (redaction.ts); of nftables there are our own tables alone.
import * as z from 'zod'
import { KERNEL_PARTS, kernelLine } from '../api/kernel-line.ts'
import { recordLine } from '../api/record-line.ts'
import { packageVersion } from '../lib/package-files.ts'
import { textWithoutSecrets } from '../lib/redaction-text.ts'
import { Archive } from './archive.ts'
import type { Command, Context, Options } from './command.ts'
import { type ExitCode, failureOf } from './failure.ts'
import { withoutSecrets } from './redaction.ts'
import { renderValue } from './render.ts'
import { ask, askText, followLines, type SocketRequest, socketOption } from './socket.ts'

/** The name of the command that runs at each node. */
export const DIAGS_THERE = '__node-diags'

/** Of the recorder the last so many octets of text. */
const RECORDER_OCTETS = 4 << 20
/** Characters of one line for a program elsewhere. */
const PIECE = 1 << 18

/** The files of a node, by the paths that they have in an archive. */
export const NODE_FILES: readonly string[] = [
  ...['version.json', 'status.json', 'events.json', 'recorder.jsonl', 'log-levels.json', 'metrics.txt'],
  ...KERNEL_PARTS.map(part => `kernel/${part}.jsonl`),
]

/** A file, or why it is not there. */
type NodeFile = { path: string } & ({ text: string } | { fault: string; code: ExitCode })

/** One line for a program elsewhere: a piece of a file, or why it is not there. */
export const nodeFileLine = z.union([
  z.object({ path: z.string(), piece: z.string() }),
  z.object({ path: z.string(), fault: z.string() }),
])

export const nodeDiagsCommands: readonly Command[] = [
  {
    name: 'node diags',
    summary:
      "Write an archive with what this node's agent and its kernel say, and what changed, for somebody who helps; secrets are removed",
    arguments: [],
    options: [
      {
        flags: '--file <file>',
        summary: 'the archive, which must not be there yet',
        default: 'margay-node-diags.tar.gz',
      },
      socketOption,
    ],
    run: diags,
  },
  {
    name: DIAGS_THERE,
    summary: 'Print the files of node diags as lines of JSON',
    arguments: [],
    hidden: true,
    options: [socketOption],
    run: diagsThere,
  },
]

async function diags(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const archive = new Archive('margay-node-diags')
  await collectNode(archive, '', options)
  await archive.write(String(options['file']), context)
  return archive.code
}

/** For this program at another machine. */
async function diagsThere(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const say = (line: z.infer<typeof nodeFileLine>) => context.out(`${JSON.stringify(line)}\n`)
  for await (const file of nodeFiles(options)) {
    const { path } = file
    if ('fault' in file) say({ path, fault: file.fault })
    else for (let at = 0; at < file.text.length; at += PIECE) say({ path, piece: file.text.slice(at, at + PIECE) })
  }
  return 0
}

/** All files of the agent here, below `folder` (with its slash). */
export async function collectNode(archive: Archive, folder: string, options: Options): Promise<void> {
  for await (const file of nodeFiles(options)) {
    const path = `${folder}${file.path}`
    if ('text' in file) archive.add(path, file.text)
    else archive.note(path, file.fault, file.code)
  }
}

async function* nodeFiles(options: Options): AsyncGenerator<NodeFile> {
  const question = (path: string): SocketRequest => ({ method: 'GET', path, owner: 'margay-node' })
  const json = async (path: string) =>
    renderValue(withoutSecrets(await ask(options, z.unknown(), question(path))), 'json')
  yield { path: 'version.json', text: renderValue({ margayctl: packageVersion(), node: process.version }, 'json') }
  yield* one('status.json', () => json('/status'))
  yield* one('events.json', () => json('/events?count=1000'))
  yield* one('recorder.jsonl', async () => {
    const kept = new LastLines(RECORDER_OCTETS)
    await followLines(options, recordLine, question('/events?since=1970-01-01T00:00:00Z'), line => {
      if ('record' in line) kept.add(lineOf(line.record))
    })
    return kept.text
  })
  yield* one('log-levels.json', () => json('/log-level'))
  yield* one('metrics.txt', async () => textWithoutSecrets(await askText(options, question('/metrics'))))
  const kernel = new Map<string, string[]>()
  const [all] = await Array.fromAsync(
    one('kernel', async () => {
      await followLines(options, kernelLine, question('/kernel'), line => {
        const lines = kernel.get(line.of) ?? []
        lines.push(lineOf(line))
        kernel.set(line.of, lines)
      })
      return ''
    }),
  )
  if (all !== undefined && 'fault' in all) yield all
  else for (const part of KERNEL_PARTS) yield { path: `kernel/${part}.jsonl`, text: (kernel.get(part) ?? []).join('') }
}

async function* one(path: string, text: () => Promise<string>): AsyncGenerator<NodeFile> {
  try {
    yield { path, text: await text() }
  } catch (error) {
    const { code, message: fault } = failureOf(error)
    yield { path, fault, code }
  }
}

function lineOf(value: unknown): string {
  return `${JSON.stringify(withoutSecrets(value))}\n`
}

/** The last lines of many, of so many characters together. */
class LastLines {
  readonly #most: number
  readonly #lines: string[] = []
  #length = 0
  #first = 0

  constructor(most: number) {
    this.#most = most
  }

  add(line: string): void {
    this.#lines.push(line)
    this.#length += line.length
    for (; this.#length > this.#most; this.#first++) {
      this.#length -= this.#lines[this.#first]!.length
      this.#lines[this.#first] = ''
    }
  }

  get text(): string {
    return this.#lines.slice(this.#first).join('')
  }
}
