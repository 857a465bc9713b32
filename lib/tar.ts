// A tar archive as octets (POSIX.1-1988 "ustar"), so that the same files give the same octets on every machine: no times,
// users or order of a file system get in. One header of 512 octets per entry, the content, zeros up to the next 512.

/** A file, or a directory when it has no content. `path` is relative, of ASCII, without a slash at its ends. */
export type TarEntry = { path: string; content?: Uint8Array; mode: number }

const BLOCK = 512
/** Most octets that one file can have: its size stands in eleven octal digits. */
const MAX_SIZE = 8 ** 11 - 1

/** The archive: entries in their order, owned by root, last changed at second 0. Throws for a path that ustar cannot hold. */
export function tarArchive(entries: readonly TarEntry[]): Buffer {
  const parts: Uint8Array[] = []
  for (const entry of entries) {
    const content = entry.content ?? new Uint8Array()
    parts.push(header(entry, content.length), content, new Uint8Array(-content.length & (BLOCK - 1)))
  }
  parts.push(new Uint8Array(2 * BLOCK))
  return Buffer.concat(parts)
}

/** name 100 | mode 8 | uid 8 | gid 8 | size 12 | mtime 12 | checksum 8 | type 1 | link 100 | magic 8 | ... | prefix 155 | zeros 12 */
function header({ path, content, mode }: TarEntry, size: number): Buffer {
  if (size > MAX_SIZE) throw new Error(`${path}: ${size} octets are too many for a tar archive`)
  const isDirectory = content === undefined
  const { prefix, name } = split(isDirectory ? `${path}/` : path)
  const block = Buffer.alloc(BLOCK)
  block.write(name, 0)
  block.write(octal(mode, 7), 100)
  block.write(octal(0, 7), 108)
  block.write(octal(0, 7), 116)
  block.write(octal(size, 11), 124)
  block.write(octal(0, 11), 136)
  block.write(' '.repeat(8), 148)
  block.write(isDirectory ? '5' : '0', 156)
  block.write('ustar\x0000', 257)
  block.write(octal(0, 7), 329)
  block.write(octal(0, 7), 337)
  block.write(prefix, 345)
  const sum = block.reduce((all, octet) => all + octet, 0)
  block.write(`${octal(sum, 6)}\0 `, 148)
  return block
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}

/** A path of more than 100 octets is divided at a slash. */
function split(path: string): { prefix: string; name: string } {
  if (!/^[\x21-\x7e]+$/.test(path) || path.startsWith('/')) throw new Error(`${path} is no relative path of ASCII`)
  if (path.length <= 100) return { prefix: '', name: path }
  for (let at = path.indexOf('/'); at >= 0 && at <= 155; at = path.indexOf('/', at + 1)) {
    const name = path.slice(at + 1)
    if (name.length <= 100 && name !== '') return { prefix: path.slice(0, at), name }
  }
  throw new Error(`${path} is too long for a tar archive`)
}
