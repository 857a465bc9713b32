// Puts this node's network configuration back when somebody deletes it: the runtime would say that it has no network, and
// the node take no pods. Only the agent's container sees this folder for long, and it has no way to the plugins' folder. What
// another program wrote in its place, or a network that came when ours went, is somebody's wish: it is left and told. A copy
// is kept in the data directory, for an agent that starts after the deletion.
import { mkdirSync, readFileSync, watch } from 'node:fs'
import { dirname, join } from 'node:path'
import { broken, type Condition, kept, type ReasonOf } from '../api/status.ts'
import { foreignNetworks, isNoConflist, isOurConflist } from '../cni/conflist.ts'
import { confFiles, replaceFile } from '../cni/runtime-files.ts'
import type { Cancel, Clock } from '../lib/clock.ts'

export type ConflistKeeperDeps = {
  /** The folder of configurations as this container sees it, and the name of ours in it. */
  confDir: string
  confName: string
  /** Where the copy is kept. */
  copy: string
  clock: Clock
  report: (conditions: readonly Condition[]) => void
  /** It was deleted and is back. */
  healed: (message: string) => void
  /** Tells of changes in a folder; absent: the kernel does. Throws where it cannot. */
  follow?: (folder: string, changed: () => void) => Cancel
}

/** Also without a word of the kernel, which tells nothing of a folder that was replaced. */
const LOOK_MS = 10_000
/** Many changes of the folder at once are looked at together. */
const SETTLE_MS = 50
/** Whoever replaces the file by deleting it first has this long. */
const PATIENCE_MS = 500

export class ConflistKeeper {
  readonly #deps: ConflistKeeperDeps
  readonly #path: string
  /** Our configuration as it was last seen; undefined before the first time. */
  #text: string | undefined
  /** The networks of others that were there beside ours. */
  #others: readonly string[] = []
  #missing = false
  #cancelLook: Cancel = () => undefined
  #cancelFollow: Cancel = () => undefined

  constructor(deps: ConflistKeeperDeps) {
    this.#deps = deps
    this.#path = join(deps.confDir, deps.confName)
  }

  start(): void {
    this.#text = this.#readCopy()
    try {
      this.#cancelFollow = (this.#deps.follow ?? followFolder)(this.#deps.confDir, () => this.#lookAfter(SETTLE_MS))
    } catch {
      // the kernel does not tell: it is looked at from time to time
    }
    this.#look()
  }

  close(): void {
    this.#cancelLook()
    this.#cancelFollow()
  }

  #lookAfter(delayMs: number): void {
    this.#cancelLook()
    this.#cancelLook = this.#deps.clock.after(delayMs, () => this.#look())
  }

  #look(): void {
    try {
      this.#deps.report([this.#kept()])
    } catch (error) {
      const { message } = error as Error // whatever the file system says
      this.#deps.report([
        this.#broken('NotKept', `it cannot be kept there: ${message}`, 'look at the disk and the mounts'),
      ])
    }
    this.#lookAfter(this.#missing ? PATIENCE_MS : LOOK_MS)
  }

  /** Reads the folder, and puts ours back. Throws what the file system throws. */
  #kept(): Condition {
    const { confName, confDir, healed } = this.#deps
    const files = confFiles(confDir)
    const found = files.find(({ name }) => name === confName)?.text
    const others = foreignNetworks(files.filter(({ name }) => name !== confName))
    if (found !== undefined && isOurConflist(found)) {
      this.#remember(found)
      this.#others = others
      this.#missing = false
      return this.#judged(others)
    }
    const isMissing = this.#missing
    this.#missing = false
    if (found !== undefined && !isNoConflist(found))
      return this.#broken(
        'Replaced',
        `${this.#path} is another network’s configuration now`,
        'remove it, or remove this network from the node: docs/install.md',
      )
    const newcomer = others.find(name => !this.#others.includes(name))
    if (newcomer !== undefined)
      return this.#broken(
        'OtherNetwork',
        `${this.#path} is gone, and ${newcomer} is there`,
        `remove ${join(confDir, newcomer)}, or remove this network from the node: docs/install.md`,
      )
    if (this.#text === undefined)
      return this.#broken(
        'Missing',
        `${this.#path} is not there and was never seen`,
        'run margay-node install on this node: restart its margay-node pod',
      )
    // seen twice: another program may be replacing it
    if (!isMissing) {
      this.#missing = true
      return this.#broken('Missing', `${this.#path} is not there`, 'none: it is put back in a moment')
    }
    replaceFile(this.#path, this.#text, { mode: 0o644 })
    healed(`${this.#path} was gone; put back`)
    return this.#judged(others)
  }

  #judged(others: readonly string[]): Condition {
    const { confName, confDir } = this.#deps
    const first = others.find(name => name < confName)
    if (first === undefined) return kept('NetworkConfigured')
    return this.#broken(
      'OtherNetworkFirst',
      `${join(confDir, first)} comes before ${confName}, so new pods get that network`,
      `remove ${join(confDir, first)}`,
    )
  }

  #broken(reason: ReasonOf<'NetworkConfigured'>, message: string, remedy: string): Condition {
    return broken('NetworkConfigured', { reason, message: `the runtime’s network configuration: ${message}`, remedy })
  }

  #remember(text: string): void {
    if (text === this.#text) return
    this.#text = text
    try {
      mkdirSync(dirname(this.#deps.copy), { recursive: true })
      replaceFile(this.#deps.copy, text, { mode: 0o600 })
    } catch {
      // a disk without room: memory has it, and the installer writes it again
    }
  }

  #readCopy(): string | undefined {
    try {
      const text = readFileSync(this.#deps.copy, 'utf8')
      return isOurConflist(text) ? text : undefined
    } catch {
      return undefined // the first start of this node, or a disk that cannot be read
    }
  }
}

function followFolder(folder: string, changed: () => void): Cancel {
  const watcher = watch(folder, { persistent: false }, changed)
  watcher.on('error', () => watcher.close()) // the folder is looked at from time to time anyway
  return () => watcher.close()
}
