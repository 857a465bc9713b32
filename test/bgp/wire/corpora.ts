// Where the test vectors of other implementations are, when they are there. Nothing of them is part of the project.
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import type { ExecutionContext } from 'ava'

const folder = process.env['MARGAY_CORPORA'] ?? fileURLToPath(new URL('../../../../shared/corpora', import.meta.url))

function text(name: string, t: ExecutionContext): string | undefined {
  const path = `${folder}/${name}`
  if (!existsSync(path)) {
    t.log(`skipped: no ${name}; set MARGAY_CORPORA to the folder that has it`)
    t.pass()
    return undefined
  }
  const bytes = readFileSync(path)
  return (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
}

/** The lines of a vector file; undefined (and a passed test that says so) when it is absent. */
export function lines(name: string, t: ExecutionContext): string[] | undefined {
  return text(name, t)?.trimEnd().split('\n')
}

/** The rows of an ndjson file. `T` says what the caller knows of them. */
export function rows<T>(name: string, t: ExecutionContext): T[] | undefined {
  return lines(name, t)?.map(line => JSON.parse(line) as T)
}
