// The archive format of an initial RAM disk: cpio "newc" (the kernel's Documentation/driver-api/early-userspace/
// buffer-format.rst). One header of fourteen fields, the name, the content; each padded to four bytes.

/** A file, or a directory when it has no content. Names are relative; a parent comes before what is in it. */
export type ArchiveEntry = { name: string; content?: Uint8Array; executable?: boolean }

const DIRECTORY = 0o040755
const FILE = 0o100644
const PROGRAM = 0o100755

/** The archive, owned by root throughout. */
export function archive(entries: readonly ArchiveEntry[]): Uint8Array {
  const parts: Uint8Array[] = []
  for (const [i, { name, content, executable }] of entries.entries()) {
    const mode = content === undefined ? DIRECTORY : executable ? PROGRAM : FILE
    parts.push(header(i + 1, mode, content?.length ?? 0, name), padded(content ?? new Uint8Array()))
  }
  parts.push(header(0, 0, 0, 'TRAILER!!!'))
  return Buffer.concat(parts)
}

/** magic | ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check | name NUL. */
function header(inode: number, mode: number, size: number, name: string): Uint8Array {
  const fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0]
  return padded(Buffer.from(`070701${fields.map(n => n.toString(16).padStart(8, '0')).join('')}${name}\0`))
}

function padded(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array((bytes.length + 3) & ~3)
  out.set(bytes)
  return out
}
