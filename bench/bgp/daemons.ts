// The daemons of the table, a row each: where the program is, its configuration, its command line. All are configured
// alike: listen on one address, wait for the same neighbours, accept and announce everything, write no kernel routes unless
// asked to.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DAEMON, type TestPlace } from './places.ts'

const PROGRAM = 'agent/margay-bgp.ts'
const MARGAY = fileURLToPath(new URL(`../../${PROGRAM}`, import.meta.url))
/** Its name in a folder that `writeBundle` filled. */
const BUNDLED = 'margay-bgp.js'
/** The same program in another checkout, with its node_modules, to compare with. */
const BEFORE = join(process.env['BENCH_BEFORE'] ?? '/nonexistent', PROGRAM)

export type Daemon = {
  /** The daemon's program; without it the daemon is left out of the table. */
  program: string
  /** It can write routes over two paths into the kernel's main table. */
  writesKernel?: true
  /** Writes its configuration into `folder`; answers its command line. The process must stay in the foreground. */
  prepare(folder: string, neighbours: readonly TestPlace[], options: Options): readonly string[]
}

export type Options = {
  /** Routes over up to two equal paths are written into the kernel's main table. */
  kernel: boolean
  /** The folder with the programs of this checkout as the image has them; without it they run from their sources. */
  bundle?: string
}

export const DAEMONS = {
  margay: {
    program: MARGAY,
    writesKernel: true,
    prepare: (folder, neighbours, { bundle, kernel }) =>
      margay(bundle === undefined ? MARGAY : join(bundle, BUNDLED), folder, neighbours, kernel),
  },
  before: {
    program: BEFORE,
    writesKernel: true,
    prepare: (folder, neighbours, { kernel }) => margay(BEFORE, folder, neighbours, kernel),
  },
  bird: {
    program: '/usr/sbin/bird',
    writesKernel: true,
    prepare(folder, neighbours, { kernel }) {
      const lines = neighbours.map(
        ({ address, asn, family }) =>
          `protocol bgp { local ${DAEMON.address} as ${DAEMON.asn}; neighbor ${address} as ${asn}; passive on; ` +
          `error wait time 1,4; ${family} { import all; export where source = RTS_BGP; }; }`,
      )
      const table = 'protocol kernel { merge paths on limit 2; ipv4 { import none; export all; }; }'
      const head = [`router id ${DAEMON.address};`, 'protocol device {}', ...(kernel ? [table] : [])]
      const file = write(folder, 'bird.conf', [...head, ...lines])
      return [this.program, '-f', '-c', file, '-s', join(folder, 'bird.ctl'), '-P', join(folder, 'bird.pid')]
    },
  },
  frr: {
    program: '/usr/lib/frr/bgpd',
    prepare(folder, neighbours) {
      const lines = (family: string) =>
        neighbours.filter(one => one.family === family).map(({ address }) => `  neighbor ${address} activate`)
      const file = write(folder, 'bgpd.conf', [
        `router bgp ${DAEMON.asn}`,
        ` bgp router-id ${DAEMON.address}`,
        ' no bgp ebgp-requires-policy',
        ' no bgp network import-check',
        ' no bgp default ipv4-unicast',
        ...neighbours.flatMap(({ address, asn }) => [
          ` neighbor ${address} remote-as ${asn}`,
          ` neighbor ${address} passive`,
        ]),
        ' address-family ipv4 unicast',
        ...lines('ipv4'),
        ' exit-address-family',
        ' address-family ipv6 unicast',
        ...lines('ipv6'),
        ' exit-address-family',
      ])
      const [pid, zebra] = [join(folder, 'bgpd.pid'), join(folder, 'zserv.api')]
      const user = ['--vty_socket', folder, '-u', 'frr', '-g', 'frr']
      return [this.program, '-f', file, '-Z', '-i', pid, '-z', zebra, ...user, '-l', DAEMON.address]
    },
  },
  gobgp: {
    program: '/usr/bin/gobgpd',
    prepare(folder, neighbours) {
      const lines = neighbours.flatMap(({ address, asn, family }) => [
        '[[neighbors]]',
        '  [neighbors.config]',
        `    neighbor-address = "${address}"`,
        `    peer-as = ${asn}`,
        '  [neighbors.transport.config]',
        '    passive-mode = true',
        '  [[neighbors.afi-safis]]',
        '    [neighbors.afi-safis.config]',
        `      afi-safi-name = "${family}-unicast"`,
      ])
      const head = ['[global.config]', `  as = ${DAEMON.asn}`, `  router-id = "${DAEMON.address}"`]
      const listen = [`  local-address-list = ["${DAEMON.address}"]`]
      const file = write(folder, 'gobgp.toml', [...head, ...listen, ...lines])
      const quiet = ['--log-level', 'error', '--pprof-disable', '--api-hosts', '127.0.0.1:50051']
      return [this.program, '-f', file, '-t', 'toml', ...quiet]
    },
  },
} as const satisfies Record<string, Daemon>
export type DaemonName = keyof typeof DAEMONS

function margay(program: string, folder: string, neighbours: readonly TestPlace[], kernel: boolean): string[] {
  const lines = neighbours.flatMap(({ address, asn, family }) => [
    `  - { address: ${address}, asn: ${asn}, passive: true, families: [${family}-unicast], import: accept, export: accept }`,
  ])
  const head = [`asn: ${DAEMON.asn}`, `routerId: ${DAEMON.address}`, `listen: ["${DAEMON.address}:179"]`]
  const table = kernel ? ['kernel: { table: 254 }', 'multipath: { paths: 2, of: ebgp }'] : ['kernel: none']
  const file = write(folder, 'margay.yaml', [...head, ...table, 'neighbors:', ...lines])
  return [process.execPath, program, '--config', file, '--log-level', 'warn']
}

/** Whether the machine has the daemon. */
export function isInstalled(name: DaemonName): boolean {
  return existsSync(DAEMONS[name].program)
}

function write(folder: string, name: string, lines: readonly string[]): string {
  const path = join(folder, name)
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}
