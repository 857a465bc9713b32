// The C libraries and the CA certificates of the image come from Debian's packages, of which only the files in use are
// taken. debian.json pins each package: version and SHA-256. apt fetches them with the machine's own sources and keys,
// for any kind of machine and without root, in folders of its own. Debian's servers drop a version when a newer one
// comes; then `npm run image -- --update-debian` pins the newer ones.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Machine } from '../cni/compile.ts'
import { packageFile } from '../lib/package-files.ts'
import { SYSTEM_PATH, systemProgram } from '../lib/system-program.ts'
import { keptFile } from './kept.ts'

export type DebianPackage = { name: string; machine: Machine; version: string; sha256: string }
/** `folder` has its files; `source` names the source package, which Debian keeps; `control` is what dpkg knows of it. */
export type UnpackedPackage = DebianPackage & { license: string; source: string; control: string; folder: string }

/** What is taken from Debian, by package, and its licence in SPDX's words. gcc-12-base holds the copyright of two others. */
const LICENSES: Readonly<Record<string, string>> = {
  libc6: 'LGPL-2.1-or-later',
  'libstdc++6': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  'libgcc-s1': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  'gcc-12-base': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  'ca-certificates': 'MPL-2.0',
}

const PINS = packageFile('image/debian.json')

/** The packages for a kind of machine, fetched, checked and unpacked below `folder`. Throws when one cannot be had. */
export function debianPackages(machine: Machine, folder: string): UnpackedPackage[] {
  const pins = (JSON.parse(readFileSync(PINS, 'utf8')) as DebianPackage[]).filter(pin => pin.machine === machine)
  const apt = new Apt(machine)
  return Object.entries(LICENSES).map(([name, license]) => {
    const pin = pins.find(each => each.name === name)
    if (pin === undefined)
      throw new Error(`image/debian.json pins no ${name} for ${machine}: run it with --update-debian`)
    const file = fetched(pin, apt)
    const unpacked = join(folder, `${name}-${machine}`)
    execFileSync(systemProgram('dpkg-deb'), ['-x', file, unpacked])
    const source = field(file, 'Source') || name
    return { ...pin, license, source, control: field(file), folder: unpacked }
  })
}

/** Pins what Debian has today, as the machine's sources and keys say. */
export function updatePins(machines: readonly Machine[]): void {
  const others = (JSON.parse(readFileSync(PINS, 'utf8')) as DebianPackage[]).filter(
    pin => !machines.includes(pin.machine),
  )
  const fresh = machines.flatMap(machine => {
    const apt = new Apt(machine)
    return Object.keys(LICENSES).map(name => {
      const content = apt.download(name)
      const sha256 = digest(content)
      const file = keptFile(
        `${name}-${sha256}.deb`,
        kept => digest(kept) === sha256,
        () => content,
      )
      return { name, machine, version: field(file, 'Version'), sha256 }
    })
  })
  const order = ({ machine, name }: DebianPackage) => `${machine} ${name}`
  const rows = [...others, ...fresh].sort((a, b) => (order(a) < order(b) ? -1 : 1))
  writeFileSync(PINS, `${JSON.stringify(rows, undefined, 2)}\n`)
}

function fetched(pin: DebianPackage, apt: Apt): string {
  const { name, machine, version, sha256 } = pin
  const valid = (content: Buffer) => digest(content) === sha256
  return keptFile(`${name}-${sha256}.deb`, valid, () => {
    const content = apt.download(`${name}=${version}`)
    if (!valid(content))
      throw new Error(
        `Debian's ${name} ${version} for ${machine} has SHA-256 ${digest(content)}, image/debian.json says ${sha256}: one of both was changed; find out which before you use --update-debian`,
      )
    return content
  })
}

/** apt for one kind of machine, beside the machine's own state. Reads the lists of packages once, when first needed. */
class Apt {
  readonly #machine: Machine
  #options: readonly string[] | undefined
  constructor(machine: Machine) {
    this.#machine = machine
  }

  /** A package's archive: `name`, or `name=version`. */
  download(wanted: string): Buffer {
    const options = this.#prepared()
    const folder = mkdtempSync(join(tmpdir(), 'margay-deb-'))
    try {
      this.#run([...options, 'download', wanted], folder)
      return readFileSync(join(folder, readdirSync(folder)[0]!))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  #prepared(): readonly string[] {
    if (this.#options !== undefined) return this.#options
    const state = join(tmpdir(), `margay-apt-${this.#machine}-${process.pid}`)
    for (const part of ['lists/partial', 'archives/partial']) mkdirSync(join(state, part), { recursive: true })
    process.once('exit', () => rmSync(state, { recursive: true, force: true }))
    writeFileSync(join(state, 'status'), '')
    const settings = {
      'Dir::State': state,
      'Dir::State::lists': join(state, 'lists'),
      'Dir::State::status': join(state, 'status'),
      'Dir::Cache': state,
      'APT::Architecture': this.#machine,
      'APT::Architectures': this.#machine,
      'Acquire::Languages': 'none',
      'APT::Sandbox::User': '', // the folders are ours alone
    }
    const options = ['-qq', ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])]
    this.#run([...options, '-o', 'APT::Update::Error-Mode=any', 'update'], state)
    this.#options = options
    return options
  }

  #run(args: readonly string[], cwd: string): void {
    try {
      const env = { PATH: SYSTEM_PATH, LC_ALL: 'C.UTF-8', ...proxies() }
      execFileSync(systemProgram('apt-get'), args, { cwd, env, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
    } catch (error) {
      const { stderr, message } = error as Error & { stderr?: string }
      throw new Error(
        `apt-get ${args
          .slice(-2)
          .filter(word => word !== '-qq')
          .join(
            ' ',
          )} for ${this.#machine}: ${stderr?.trim() || message}. The image is made of packages of Debian 12, from the sources of this machine. If Debian has a newer version by now, run it with --update-debian`,
        { cause: error },
      )
    }
  }
}

function proxies(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter(name => /^(https?|no|all)_proxy$/i.test(name))
  return Object.fromEntries(names.map(name => [name, process.env[name]]))
}

/** One field of a package's control file, or all of them. */
function field(file: string, ...names: string[]): string {
  return execFileSync(systemProgram('dpkg-deb'), ['-f', file, ...names], { encoding: 'utf8' }).trim()
}

function digest(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}
