// Why no neighbour can be seen on an interface, as people are told, and that routers are asked before they say something by themselves.
import { execFileSync } from 'node:child_process'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { ANSWER_MS } from '../slowness.ts'
import { scratchNetns } from './scratch-netns.ts'

const SOURCE = new URL('../../kernel/router-advertisement.ts', import.meta.url).href
const asRoot = process.getuid?.() === 0 ? test : test.skip

/** What a program in a namespace prints that begins so; it ends itself. */
function said(path: string, code: string, lacks?: string): string {
  const program = `import { discoverNeighbour } from '${SOURCE}'; const say = text => { console.log(text); process.exit() }; ${code}`
  const node = [process.execPath, '--input-type=module', '-e', program]
  const bounded =
    lacks === undefined
      ? node
      : [systemProgram('setpriv'), '--bounding-set', `-${lacks}`, '--inh-caps', `-${lacks}`, ...node]
  return execFileSync(systemProgram('nsenter'), [`--net=${path}`, ...bounded], {
    encoding: 'utf8',
    timeout: 3 * ANSWER_MS,
  }).trim()
}

asRoot('what keeps neighbours from being seen is told by what it is: no interface, no carrier, no right', t => {
  using netns = scratchNetns()
  const hindered = (lacks?: string) => said(netns.path, "discoverNeighbour('e0', () => undefined, say)", lacks)
  const ip = (...words: string[]) => execFileSync(systemProgram('ip'), ['-n', netns.name, ...words])
  t.is(hindered(), 'this machine has no interface e0')
  ip('link', 'add', 'e0', 'type', 'veth', 'peer', 'name', 'e1')
  t.is(hindered(), 'e0 is down, has no carrier, or no link-local address yet')
  ip('link', 'set', 'e0', 'up')
  t.is(hindered(), 'e0 is down, has no carrier, or no link-local address yet')
  t.is(hindered('net_raw'), 'routers on e0 cannot be seen without CAP_NET_RAW')
})

asRoot('routers are asked for their advertisements when the interface comes up', t => {
  using netns = scratchNetns()
  const ip = (...words: string[]) => execFileSync(systemProgram('ip'), ['-n', netns.name, ...words])
  ip('link', 'add', 'e0', 'type', 'veth', 'peer', 'name', 'e1')
  const sysctl = (setting: string) =>
    execFileSync(systemProgram('nsenter'), [`--net=${netns.path}`, systemProgram('sysctl'), '-qw', setting])
  // a router hears what is sent to all routers
  sysctl('net.ipv6.conf.all.forwarding=1')
  for (const end of ['e0', 'e1']) {
    sysctl(`net.ipv6.conf.${end}.accept_dad=0`)
    ip('link', 'set', end, 'up')
  }
  const heard = `
    const libc = await import('${new URL('../../kernel/libc.ts', import.meta.url).href}')
    const { bindToDevice } = await import('${new URL('../../kernel/sockopt.ts', import.meta.url).href}')
    const fd = libc.openSocket(libc.SOCKET_FAMILY.ipv6, libc.SOCKET_TYPE.raw, 58, 'icmpv6')
    bindToDevice(fd, 'e1')
    discoverNeighbour('e0', () => undefined)
    const types = new Set()
    setInterval(() => {
      const data = Buffer.alloc(1500)
      try { for (;;) { libc.receiveFrom(fd, data, Buffer.alloc(28), 'icmpv6'); types.add(data[0]) } } catch (error) { if (error.errno !== 11) throw error }
      if (types.has(133) && types.has(134)) say('solicited and advertised')
    }, 20)`
  t.is(said(netns.path, heard), 'solicited and advertised')
})

asRoot('whoever floods a link with advertisements is read a few at a time, so that all else goes on', t => {
  using netns = scratchNetns()
  const ip = (...words: string[]) => execFileSync(systemProgram('ip'), ['-n', netns.name, ...words])
  ip('link', 'add', 'e0', 'type', 'veth', 'peer', 'name', 'e1')
  for (const end of ['e0', 'e1']) ip('link', 'set', end, 'addrgenmode', 'none', 'up')
  ip('addr', 'add', 'fe80::1/64', 'dev', 'e0', 'nodad')
  for (const last of ['a', 'b']) ip('addr', 'add', `fe80::${last}/64`, 'dev', 'e1', 'nodad')
  const flood = `
    const libc = await import('${new URL('../../kernel/libc.ts', import.meta.url).href}')
    const { socketAddress } = await import('${new URL('../../kernel/sockopt.ts', import.meta.url).href}')
    const senders = ['fe80::a', 'fe80::b'].map(address => {
      const fd = libc.openSocket(libc.SOCKET_FAMILY.ipv6, libc.SOCKET_TYPE.raw, 58, 'icmpv6')
      libc.bindSocket(fd, socketAddress(address, 0, 'e1'), 'icmpv6')
      return fd
    })
    const advertisement = Buffer.alloc(16)
    advertisement[0] = 134
    let inTurn = 0
    let most = 0
    let all = 0
    discoverNeighbour('e0', () => {
      if (inTurn++ === 0) setImmediate(() => (inTurn = 0))
      most = Math.max(most, inTurn)
      if (++all === 60) say('at most ' + most + ' in one turn')
    })
    // a full socket, once
    for (let i = 0; i < 200; i++) libc.sendTo(senders[i % 2], advertisement, socketAddress('ff02::1', 0, 'e1'), 'icmpv6')
    setInterval(() => undefined, 1000)`
  t.is(said(netns.path, flood), 'at most 16 in one turn')
})
