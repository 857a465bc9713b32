// Who a change came from, in words: what is known of a netlink port, and what a process may say of itself.
import { mkdirSync, mkdtempSync, opendirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { authorText } from '../../kernel/linux/author.ts'

const HEAD = 'sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n'

/** A /proc in which process 312 is called `comm` and has the socket of this port, by these lines of /proc/net/netlink. */
function proc(t: ExecutionContext, { comm = 'systemd-network', sockets }: { comm?: string; sockets: string }): string {
  const folder = mkdtempSync(join(tmpdir(), 'margay-proc-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const each of ['self/net', '312/fd']) mkdirSync(join(folder, each), { recursive: true })
  writeFileSync(join(folder, 'self/net/netlink'), HEAD + sockets)
  writeFileSync(join(folder, '312/comm'), `${comm}\n`)
  symlinkSync('socket:[4711]', join(folder, '312/fd/3'))
  return folder
}

const row = (port: number, inode: number, family = 0) =>
  `0000000000000000 ${family}   ${port}     00000551 0        0        0     2        0        ${inode}\n`

test('a process that has the socket of a port is named', t => {
  const folder = proc(t, { sockets: row(1, 17) + row(312, 4711) })
  t.is(authorText({ port: 312 }, folder), 'systemd-network (process 312)')
})

test('the ports that libnl counts for one process lead to it', t => {
  const port = 312 + (5 << 22)
  t.is(authorText({ port }, proc(t, { sockets: row(port, 4711) })), 'systemd-network (process 312)')
})

test('the process of that number here is not named where another one has the socket, of a container or one that has ended', t => {
  t.is(authorText({ port: 312 }, proc(t, { sockets: row(312, 9999) })), 'process 312')
  t.is(authorText({ port: 312 }, proc(t, { sockets: row(312, 4711, 12) })), 'process 312')
  t.is(authorText({ port: 312 }, proc(t, { sockets: '' })), 'process 312')
  t.is(authorText({ port: 313 }, proc(t, { sockets: row(313, 4711) })), 'process 313')
  t.is(authorText({ port: 312 }, '/nonexistent'), 'process 312')
})

test('of a namespace with a hundred thousand sockets, and of a process with as many files, only the beginning is looked through', t => {
  const many = Array.from({ length: 100_000 }, (_, i) => row(1000 + i, 5000 + i)).join('')
  t.is(authorText({ port: 312 }, proc(t, { sockets: row(312, 4711) + many })), 'systemd-network (process 312)')
  t.is(authorText({ port: 312 }, proc(t, { sockets: many + row(312, 4711) })), 'process 312')
  const folder = proc(t, { sockets: '' })
  for (let fd = 4; fd < 2000; fd++) symlinkSync(`socket:[${fd}]`, join(folder, `312/fd/${fd}`))
  rmSync(join(folder, '312/fd/3'))
  // in the order of the file system
  using entries = opendirSync(join(folder, '312/fd'))
  const fds: number[] = []
  for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) fds.push(Number(entry.name))
  const textAt = (place: number) => {
    writeFileSync(join(folder, 'self/net/netlink'), HEAD + row(312, fds.at(place)!))
    return authorText({ port: 312 }, folder)
  }
  t.deepEqual([textAt(999), textAt(1000)], ['systemd-network (process 312)', 'process 312'])
})

test('of a port that the kernel chose nobody is named', t => {
  t.is(authorText({ port: 0xfffff000 }, '/nonexistent'), undefined)
})

test('a port that is no process’s number names nobody, and a process without a name has its number', t => {
  t.is(authorText({ port: 5 << 22 }, '/nonexistent'), undefined)
  t.is(authorText({ port: 312 }, proc(t, { comm: '  ', sockets: row(312, 4711) })), 'process 312')
  t.is(authorText({ pid: 7, name: ' \n' }), 'process 7')
})

test('a name cannot break a line', t => {
  t.is(authorText({ pid: 7, name: 'a\nb\u001b[31m' }), 'a?b?[31m (process 7)')
  const folder = proc(t, { comm: 'a\tb', sockets: row(312, 4711) })
  t.is(authorText({ port: 312 }, folder), 'a?b (process 312)')
})
