// Settings that other programs write on this machine's kernel: put back at once, with who wrote them.
import { execFileSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { spawnInNetns } from '../../kernel/netns.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { SettingNews } from '../../kernel/port/sysctls.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, scratchNetns } from '../kernel/scratch-netns.ts'
import { ANSWER_MS } from '../slowness.ts'
import { onNode } from './foreign-node.ts'
import { eventually } from './node-kernel.ts'

const asRoot = isRoot ? test.serial : test.serial.skip

/** All settings are looked at every ten seconds: what took that long is no proof. */
const LOOK_MS = 8000

/** Open descriptors of watches and of settings. */
function ofSettings(): string[] {
  return readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      const link = readlinkSync(`/proc/self/fd/${fd}`)
      return /fanotify|\/sys\/net\//.test(link) ? [link] : []
    } catch {
      return [] // that of the folder itself
    }
  })
}

/** Whether this process may hear of writes: not in a user namespace. */
function mayWatch(t: ExecutionContext): boolean {
  using kernel = openKernel()
  try {
    kernel.watchSettings(() => undefined).close()
    return true
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    t.log(`skipped: ${error.message}`)
    return false
  }
}

asRoot(
  'a setting that another program changes is as it was long before the next look, and its process is named',
  async t => {
    if (!mayWatch(t)) return t.pass()
    await onNode(t, async ({ kernel, healed, run }) => {
      const settings = [
        ['ipv4', 'conf', 'calia', 'proxy_arp'],
        ['ipv4', 'conf', 'calia', 'forwarding'],
        ['ipv4', 'conf', 'calia', 'route_localnet'],
        ['ipv4', 'conf', 'calia', 'accept_source_route'],
        ['ipv4', 'neigh', 'calia', 'proxy_delay'],
        ['ipv4', 'ip_forward'],
        ['ipv6', 'conf', 'calia', 'accept_ra'],
      ] as const
      const times: number[] = []
      for (const [family, ...path] of settings) {
        const right = kernel.readSysctl(family, path)
        const wrong = path.at(-1) === 'proxy_delay' ? '80' : right === '0' ? '1' : '0'
        const name = `Sysctl net.${family} ${path.join('/')}`
        const found = () => healed.find(each => each.name === name)
        let pid = 0
        let tookMs = Number.POSITIVE_INFINITY
        // a writer that stands still between its write and its end is heard of after the repair, and other tests write to many files
        for (let attempt = 0; attempt < 5 && (found()?.by === undefined || tookMs > LOOK_MS); attempt++) {
          healed.length = 0
          const startMs = performance.now()
          pid = await run('sysctl', ['-qw', `net/${family}/${path.join('/')}=${wrong}`])
          await eventually(`${name} is healed`, () => found() !== undefined, ANSWER_MS)
          tookMs = Math.round(performance.now() - startMs)
        }
        t.true(tookMs < LOOK_MS, `${name}: ${tookMs} ms`)
        times.push(tookMs)
        t.is(kernel.readSysctl(family, path), right)
        t.regex(found()!.by ?? '', new RegExp(`process ${pid}\\b`), name)
        t.regex(
          found()!.message,
          new RegExp(`was changed from ${right} to ${wrong} by .*process ${pid}\\b.*; put back`),
        )
      }
      t.log(`${times.join(' ')} ms with the start of a program`)
    })
  },
)

asRoot(
  'of writes to more files than are worth the time it is told that some are missed, and after that nothing until it is renewed',
  async t => {
    if (!mayWatch(t)) return t.pass()
    using space = scratchNetns()
    using root = openKernel()
    using kernel = root.inside(space.path)
    const told: (SettingNews | undefined)[] = []
    const watch = kernel.watchSettings(news => told.push(news))
    const write = () =>
      execFileSync(systemProgram('nsenter'), [
        `--net=${space.path}`,
        systemProgram('sysctl'),
        '-qw',
        'net.ipv4.conf.lo.arp_ignore=1',
      ])
    write()
    await eventually('a write is told', () => told.length > 0, ANSWER_MS)
    t.like(told[0], { family: 'ipv4', path: ['conf', 'lo', 'arp_ignore'] })
    t.truthy(told[0]?.by)
    kernel.writeSysctl('ipv4', ['conf', 'lo', 'arp_ignore'], '0')
    watch.drain()
    t.is(told.length, 1, 'one’s own are not')
    using elsewhere = scratchNetns()
    execFileSync(systemProgram('nsenter'), [
      `--net=${elsewhere.path}`,
      systemProgram('sysctl'),
      '-qw',
      'net.ipv4.conf.lo.arp_ignore=1',
    ])
    watch.drain()
    t.is(told.length, 1, 'nor are those of other namespaces')

    // what one process writes to one file again and again is told once
    for (let i = 0; i < 50; i++)
      await kernel.createLink({ kind: 'veth', name: `a${i}`, mtu: 1500, peer: { name: `b${i}`, mtu: 1500 } })
    const each = 'for f in /proc/sys/net/ipv*/conf/*/*; do echo 1 > $f; done 2> /dev/null; true'
    const flood = spawnInNetns(space.path, 'sh', ['-c', each])
    await eventually('too much is told', () => told.includes(undefined), ANSWER_MS)
    await new Promise(resolve => (flood.exitCode === null ? flood.once('exit', resolve) : resolve(undefined)))
    const count = told.length
    write()
    watch.drain()
    t.is(told.length, count)
    watch.renew()
    write()
    await eventually('a write is told again', () => told.length > count, ANSWER_MS)
    watch.close()
    t.deepEqual(ofSettings(), [], 'no descriptor is left')
  },
)
