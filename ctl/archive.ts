// The archive that `cluster diags` and `node diags` write: files, and a summary that names each of them, and what could not be had.
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { textWithoutSecrets } from '../lib/redaction-text.ts'
import { tarArchive } from '../lib/tar.ts'
import type { Context } from './command.ts'
import { EXIT, type ExitCode, failureOf, UsageError } from './failure.ts'
import { visible } from './visible.ts'

export class Archive {
  readonly #folder: string
  readonly #files: { path: string; content: Uint8Array; mode: number }[] = []
  readonly #lines: string[] = []
  /** The worst failure so far. */
  code: ExitCode = EXIT.fine

  /** All files are in `folder`. */
  constructor(folder: string) {
    this.#folder = folder
  }

  /** Adds a file, without secrets already. */
  add(path: string, text: string): void {
    this.#files.push({ path, content: Buffer.from(text), mode: 0o600 })
    this.#lines.push(visible(`${path}: ok`))
  }

  /** Says why something is not there. */
  note(path: string, why: string, code: ExitCode = EXIT.fine): void {
    this.#lines.push(visible(`${path}: ${textWithoutSecrets(why)}`))
    if (code === EXIT.unreachable) this.code = code
  }

  /** One file, or why it is not there. Patterns of text are not for YAML and JSON: they may cut its structure. */
  async collect(path: string, text: () => Promise<string>): Promise<void> {
    try {
      this.add(path, await text())
    } catch (error) {
      const { code, message } = failureOf(error)
      this.note(path, message, code)
    }
  }

  /** Writes the archive to `path`, never over a file that is there, readable by its owner alone. Rejects with UsageError. */
  async write(path: string, context: Pick<Context, 'out'>): Promise<void> {
    const text = `${this.#lines.join('\n')}\n`
    const summary = { path: 'summary.txt', content: Buffer.from(text), mode: 0o600 }
    const all = [...this.#files, summary].map(each => ({ ...each, path: `${this.#folder}/${each.path}` }))
    await write(path, await promisify(gzip)(tarArchive(all)))
    context.out(
      `${text}${path}: ${all.length} files. Secrets were removed by rules: look through it before you send it.\n`,
    )
  }
}

async function write(path: string, octets: Uint8Array): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    await file.writeFile(octets)
    await file.close()
  } catch (error) {
    throw new UsageError(`${path} cannot be written: ${(error as Error).message}. Name another one with --file.`)
  }
}
