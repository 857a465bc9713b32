// NetworkManager and systemd-networkd of Debian, the real ones, on a node: they have the uplink, are restarted, apply their
// configuration again and flush what is not in it. Each runs in a namespace of its own network, with its own /run, /sys and /etc.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { findSystemProgram, systemProgram } from '../../lib/system-program.ts'
import { isRoot, openNetns, sweep } from './netns.ts'
import { addLink, eventually, kernelState, setUpNode } from './node-kernel.ts'
import { tell, WITHOUT_IPIP } from './worlds.ts'

/** A busy machine may take long to start a manager and to apply what it is told. */
const PATIENCE_MS = 60_000
const NETWORKD = '/lib/systemd/systemd-networkd'

/** What docs/install.md says to write, and where. */
const LEAVE_OURS = {
  NetworkManager: {
    file: '/etc/NetworkManager/conf.d/margay.conf',
    text: '[keyfile]\nunmanaged-devices=interface-name:cali*;interface-name:mgbw*;interface-name:tunl0;interface-name:vxlan.calico\n',
  },
  networkd: {
    file: '/etc/systemd/networkd.conf.d/margay.conf',
    text: '[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n',
  },
} as const

/** A shell in the network namespace `name`, as root of files of its own; what it started ends with it. */
class Machine {
  readonly #shell: ChildProcess
  #said = ''

  constructor(name: string) {
    const args = [`--net=${netnsPath(name)}`, systemProgram('unshare'), '--mount', systemProgram('sh')]
    this.#shell = spawn(systemProgram('nsenter'), args, { stdio: ['pipe', 'pipe', 'pipe'] })
    for (const stream of [this.#shell.stdout!, this.#shell.stderr!])
      stream.on('data', (octets: Buffer) => {
        this.#said += octets
      })
  }

  /** What the commands say. Throws when the last of them fails. */
  async run(commands: string): Promise<string> {
    this.#said = ''
    this.#shell.stdin!.write(`{ ${commands}\n} </dev/null; echo "<end $?>"\n`)
    await eventually(commands, () => /<end \d+>\n/.test(this.#said), PATIENCE_MS)
    const said = this.#said
    if (!said.includes('<end 0>')) throw new Error(`${commands}\n${said}`)
    return said
  }

  async end(): Promise<void> {
    const ended = once(this.#shell, 'exit')
    this.#shell.kill()
    this.#shell.stdin!.end()
    await ended
  }
}

/** Own files in place of the machine's, a bus, and the end of whatever runs when the shell ends. */
const PREPARE = `
  mount -t sysfs -o ro sysfs /sys; mount -t tmpfs tmpfs /run; mkdir -p /run/dbus /run/systemd/network
  mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
  chown -R systemd-network:systemd-network /run/systemd/netif 2>/dev/null || :
  for folder in /etc/NetworkManager /etc/systemd /var/lib/NetworkManager; do
    [ ! -d $folder ] || mount -t tmpfs tmpfs $folder
  done
  mkdir -p /etc/NetworkManager/system-connections /etc/NetworkManager/conf.d /etc/systemd/network /etc/systemd/networkd.conf.d
  # a shell that is killed while it waits for commands leaves EXIT out
  trap 'kill $manager $bus 2>/dev/null' EXIT; trap 'kill $manager $bus 2>/dev/null; trap - EXIT; exit 1' TERM
  dbus-daemon --system --nofork >/dev/null 2>&1 & bus=$!
  until [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
`

type Manager = {
  lacks(): string | undefined
  configure: string
  start: string
  /** After the first start. */
  begin: string
  /** Until it has the uplink. */
  settled: string
  /** What an administrator does, or the package when it is upgraded; last what may have effects after it is told to be done. */
  acts: Readonly<Record<string, string>>
  /** Those of them that take the address of the uplink away for a moment. */
  renews: readonly string[]
  /** The name of its process. */
  comm: string
}

const MANAGERS: Readonly<Record<keyof typeof LEAVE_OURS, Manager>> = {
  NetworkManager: {
    lacks: () => (findSystemProgram('NetworkManager') === undefined ? 'network-manager' : undefined),
    configure: `
      printf '[device]\\nmatch-device=interface-name:eth0\\nmanaged=1\\n' >/etc/NetworkManager/conf.d/eth0.conf
      printf '[connection]\\nid=eth0\\ntype=ethernet\\ninterface-name=eth0\\n[ipv4]\\nmethod=manual\\naddress1=192.168.10.11/24,192.168.10.1\\n' \\
        >/etc/NetworkManager/system-connections/eth0.nmconnection
      chmod 600 /etc/NetworkManager/system-connections/*`,
    start: 'NetworkManager --no-daemon >/dev/null 2>&1 & manager=$!',
    begin: 'nmcli connection up eth0',
    settled: "until nmcli -t -f DEVICE,STATE device 2>/dev/null | grep -q '^eth0:connected'; do sleep 0.1; done",
    acts: {
      'apply its connection again': 'nmcli device reapply eth0',
      restart: 'kill $manager; wait $manager; START; SETTLED',
      'take its connection down and up': 'nmcli connection down eth0; nmcli connection up eth0',
    },
    renews: ['take its connection down and up'],
    comm: 'NetworkManager',
  },
  networkd: {
    lacks: () =>
      existsSync(NETWORKD) && findSystemProgram('dbus-daemon') !== undefined ? undefined : 'systemd and dbus',
    // an address that somebody else gave stays as it is, and is no address of its own
    configure:
      "ip -4 address flush dev eth0; printf '[Match]\\nName=eth0\\n[Network]\\nAddress=192.168.10.11/24\\nGateway=192.168.10.1\\nIPv6AcceptRA=no\\n' >/etc/systemd/network/10-eth0.network",
    begin: ':',
    start: `${NETWORKD} >/dev/null 2>&1 & manager=$!`,
    settled: "until networkctl --no-legend list eth0 2>/dev/null | grep -q 'configured'; do sleep 0.1; done",
    acts: {
      restart: 'kill $manager; wait $manager; START; SETTLED',
      'configure the uplink anew': 'networkctl reconfigure eth0; SETTLED',
    },
    renews: ['configure the uplink anew'],
    comm: 'systemd-network',
  },
}

type Healed = { name: string; by: string | undefined }
type ManagedNode = {
  healed: Healed[]
  act(commands: string): Promise<string>
  /** Resolves when all that the agent wants is in the kernel as it was before the manager did anything. */
  isRight(): Promise<unknown>
}
type Body = (t: ExecutionContext, node: ManagedNode) => Promise<void>

async function onManagedNode(
  { manager, files }: { manager: Manager; files: readonly { file: string; text: string }[] },
  body: (node: ManagedNode) => Promise<void>,
): Promise<void> {
  const { name, kernel, otherProgram, close } = await openNetns()
  const healed: Healed[] = []
  await setUpNode(otherProgram)
  for (const { interfaceName } of WITHOUT_IPIP.endpoints) await addLink(otherProgram, interfaceName)
  const felix = new Felix(kernel, {
    ...{ clock: systemClock, log: silentLog, marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }) },
    onConditions: () => {},
    onRepair: ({ object, by }) => healed.push({ name: `${object.kind} ${object.name}`, by }),
  })
  const machine = new Machine(name)
  try {
    felix.start()
    tell(felix, WITHOUT_IPIP)
    for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
    await felix.inSync()
    // the default route is the manager's
    const own = async () => {
      const { routes, ...others } = await kernelState(otherProgram)
      return { ...others, routes: routes.filter(line => !/ 0\.0\.0\.0\/0 | fe80::|ff00::/.test(line)) }
    }
    const right = await own()
    const act = (commands: string) =>
      machine.run(commands.replaceAll('START', () => manager.start).replaceAll('SETTLED', () => manager.settled))
    await machine.run(PREPARE + manager.configure)
    for (const { file, text } of files) await machine.run(`printf '${text.replaceAll('\n', '\\n')}' >${file}`)
    await act(`START\nSETTLED\n${manager.begin}`)
    await body({
      ...{ healed, act },
      isRight: () => eventually('all is right', async () => isDeepStrictEqual(await own(), right), PATIENCE_MS),
    })
  } finally {
    await machine.end()
    await felix.close()
    await close()
  }
}

if (!isRoot)
  test('managers of the network on a node', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  for (const [name, manager] of Object.entries(MANAGERS) as [keyof typeof LEAVE_OURS, Manager][]) {
    const managed = (title: string, files: readonly { file: string; text: string }[], body: Body) =>
      test.serial(title, async t => {
        t.timeout(4 * PATIENCE_MS)
        const lacking = manager.lacks()
        if (lacking === undefined) await onManagedNode({ manager, files }, node => body(t, node))
        else t.log(`skipped: install ${lacking}`)
        t.pass()
      })
    const isNamed = new RegExp(`^${manager.comm} \\(process \\d+\\)$`)

    managed(
      `${name} that has every device: whatever it does, all that is ours is back, and it is named`,
      [],
      async (t, node) => {
        await node.isRight()
        for (const commands of Object.values(manager.acts)) {
          await node.act(commands)
          await node.isRight()
        }
        t.true(
          node.healed.some(({ by }) => isNamed.test(by ?? '')),
          JSON.stringify(node.healed),
        )
      },
    )

    managed(
      `${name} that is configured as docs/install.md says takes nothing but what goes with the address of the uplink`,
      [LEAVE_OURS[name]],
      async (t, node) => {
        await node.isRight()
        for (const [what, commands] of Object.entries(manager.acts)) {
          node.healed.length = 0
          await node.act(commands)
          await node.isRight()
          if (!manager.renews.includes(what)) t.deepEqual(node.healed, [], what)
          for (const { name: object, by } of node.healed) {
            t.regex(object, /^Route /, what)
            t.notRegex(object, /10\.244\.1\.|fd00/, 'of a pod, or of the own block')
            // a pass may see that a route is gone before the event that says who took it
            if (by !== undefined) t.regex(by, isNamed, what)
          }
        }
      },
    )
  }

  test('docs/install.md has what these tests write for the managers', t => {
    const text = readFileSync(new URL('../../docs/install.md', import.meta.url), 'utf8')
    for (const { file, text: lines } of Object.values(LEAVE_OURS)) {
      t.true(text.includes(file), file)
      for (const line of lines.trim().split('\n')) t.true(text.includes(line), line)
    }
  })
}
