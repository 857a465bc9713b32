// The BMP collectors of `margay-bgp`, kept equal to its configuration. An entry that changes is a new connection with a
// fresh table; the others go on.
import { hostname } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { BmpCollector } from '../bgp/bmp/collector.ts'
import type { BmpDeps, BmpStatus } from '../bgp/bmp/config.ts'
import type { ConfigFile } from '../bgp/file/types.ts'
import { packageVersion } from '../lib/package-files.ts'

type Entry = ConfigFile['bmp'][number]

export class BgpMonitors {
  readonly #deps: BmpDeps
  readonly #running: { entry: Entry; collector: BmpCollector }[] = []

  constructor(deps: BmpDeps) {
    this.#deps = deps
  }

  want(entries: ConfigFile['bmp']): void {
    for (const { entry, collector } of this.#running.splice(0))
      if (entries.some(wanted => isDeepStrictEqual(wanted, entry))) this.#running.push({ entry, collector })
      else collector.close()
    for (const entry of entries) {
      if (this.#running.some(running => isDeepStrictEqual(running.entry, entry))) continue
      const collector = new BmpCollector({ name: hostname(), description: description(), ...entry }, this.#deps)
      this.#running.push({ entry, collector })
      collector.start()
    }
  }

  status(): BmpStatus[] {
    return this.#running.map(({ collector }) => collector.status())
  }

  close(): void {
    this.want([])
  }
}

/** sysDescr of a BMP initiation. */
function description(): string {
  return `margay-bgp ${packageVersion()}`
}
