// Passwords of BGP sessions on disk, so that a restart without an API server has its sessions: one file, 0600, in the data directory, and
// nowhere else (not in the databases, which people copy and send). Hazard: an error of JSON.parse quotes what it read, so none is passed on.
import { join } from 'node:path'
import { isObject } from '../api/merge-patch.ts'
import { contentOf, removeFile, removeLeftovers, replaceFile } from '../cni/runtime-files.ts'

/** By the name of the Secret, then by its key. */
export type SecretValues = ReadonlyMap<string, ReadonlyMap<string, string>>

const NAME = 'bgp-secrets'

export class SecretFile {
  readonly path: string
  readonly #namespace: string

  /** `namespace`: that of the Secrets. */
  constructor(dataDir: string, namespace: string) {
    this.path = join(dataDir, NAME)
    this.#namespace = namespace
  }

  /** What an earlier run left; nothing where that is of another namespace or damaged, or cannot be read. */
  read(): SecretValues {
    try {
      removeLeftovers(this.path)
      const text = contentOf(this.path)?.toString()
      return text === undefined ? new Map() : valuesIn(JSON.parse(text), this.#namespace)
    } catch {
      return new Map() // the API server has them too
    }
  }

  /** Keeps these and no others; without any there is no file. Throws what the file system throws. */
  write(values: SecretValues): void {
    const secrets = Object.fromEntries([...values].map(([name, keys]) => [name, Object.fromEntries(keys)]))
    if (values.size > 0)
      replaceFile(this.path, `${JSON.stringify({ namespace: this.#namespace, secrets })}\n`, { mode: 0o600 })
    else if (contentOf(this.path) !== undefined) removeFile(this.path)
  }
}

function valuesIn(read: unknown, namespace: string): SecretValues {
  if (!isObject(read) || read['namespace'] !== namespace || !isObject(read['secrets'])) return new Map()
  return new Map(
    Object.entries(read['secrets']).flatMap(([name, keys]) => {
      const texts = isObject(keys) ? Object.entries(keys).filter(([, text]) => typeof text === 'string') : []
      return texts.length === 0 ? [] : [[name, new Map(texts as [string, string][])] as const]
    }),
  )
}
