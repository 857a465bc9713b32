// The compiled code of this program's modules on disk: a start without it removes types and compiles about 600 files
// again, which is most of the time to ready of a restart. Hazards: this is code that root runs, so the folder lies in
// the data directory, which only its owner may write; Node checks each entry against its source and a checksum.
import { mkdirSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

/**
 * Modules that are imported from now on are taken from the cache in `dataDir`, or added to it when the process ends or
 * `flushCompileCache` is called. Without effect where NODE_COMPILE_CACHE names another folder, or the disk cannot be used.
 */
export function useCompileCache(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  } catch {
    return // whatever the disk says: opening the databases fails in the same way, and tells
  }
  enableCompileCache(join(dataDir, 'compile-cache'))
}
