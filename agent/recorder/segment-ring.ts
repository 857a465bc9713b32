// Records in files of one folder, `NAME-00000001.seg` and so on, of which the oldest go: what is on disk is bounded. Records are
// appended to the newest one, whole or not at all. Nothing is forced to the disk but a file that is full: what a program wrote
// outlives its own end, and a power cut costs seconds. Hazard: a disk that is full writes a part.
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { HEAD, parseSegment } from './segment.ts'

export type RingOptions = { folder: string; name: string; segmentOctets: number; mostSegments: number }

export class SegmentRing {
  readonly #options: RingOptions
  /** Numbers of the files, the oldest first. */
  #numbers: number[]
  #fd: number | undefined
  #octets = 0

  /** Opens what an earlier run left, without what it did not write whole. Throws the error of the file system. */
  constructor(options: RingOptions) {
    this.#options = options
    const { folder, name } = options
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.#numbers = readdirSync(folder)
      .flatMap(file => {
        const [of, number] = /^(\w+)-(\d{8})\.seg$/.exec(file)?.slice(1) ?? []
        return of === name ? [Number(number)] : []
      })
      .toSorted((a, b) => a - b)
    const newest = this.#numbers.at(-1)
    if (newest !== undefined) this.#goOn(newest)
  }

  /** The files, the oldest first. */
  get paths(): string[] {
    return this.#numbers.map(number => this.#path(number))
  }

  /** The records of one file; none of one that went meanwhile, or is damaged. */
  static read(path: string): string[] {
    try {
      return parseSegment(readFileSync(path)).texts
    } catch {
      return []
    }
  }

  /** Appends records; throws the error of the file system, and has appended none of them then. */
  append(records: Buffer): void {
    if (this.#fd === undefined || this.#octets + records.length > this.#options.segmentOctets) this.#begin()
    // together: a file without its head would be none
    this.#write(this.#octets === 0 ? Buffer.concat([HEAD, records]) : records)
  }

  /** Removes the oldest file, but never the newest; returns whether there was one. */
  dropOldest(): boolean {
    if (this.#numbers.length < 2) return false
    unlinkSync(this.#path(this.#numbers[0]!))
    this.#numbers.shift()
    return true
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }

  #path(number: number): string {
    return join(this.#options.folder, `${this.#options.name}-${String(number).padStart(8, '0')}.seg`)
  }

  #goOn(number: number): void {
    const path = this.#path(number)
    const { end } = parseSegment(readFileSync(path))
    if (end === 0) return // a damaged head: the next record begins a new file
    this.#fd = openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW)
    if (fstatSync(this.#fd).size > end) ftruncateSync(this.#fd, end)
    this.#octets = end
  }

  #begin(): void {
    const { O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
    const number = (this.#numbers.at(-1) ?? 0) + 1
    const fd = openSync(this.#path(number), O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    const full = this.#fd
    if (full !== undefined) fdatasync(full, () => closeSync(full))
    this.#fd = fd
    this.#octets = 0
    this.#numbers.push(number)
    while (this.#numbers.length > this.#options.mostSegments) this.dropOldest()
  }

  #write(octets: Buffer): void {
    try {
      for (let from = 0; from < octets.length; ) from += writeSync(this.#fd!, octets, from)
      this.#octets += octets.length
    } catch (error) {
      ftruncateSync(this.#fd!, this.#octets)
      throw error
    }
  }
}
