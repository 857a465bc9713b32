// What a node needs of its kernel, and whether it is there: read from files, so that nothing is loaded or changed and no
// root is needed. `/sys/module` has what is loaded, `modules.builtin` and `modules.dep` what is in the kernel or beside it.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** Any one of `modules` will do. `config` is the option of the kernel's build. */
type FeatureRow = {
  feature: string
  modules: readonly string[]
  config: string
  /** Without a `required` one a node serves no pods. */
  required: boolean
  use: string
}

const FEATURES: readonly FeatureRow[] = [
  { feature: 'veth', modules: ['veth'], config: 'VETH', required: true, use: 'the interface of each pod' },
  { feature: 'nftables', modules: ['nf_tables'], config: 'NF_TABLES', required: true, use: 'the pod filter' },
  {
    ...{ feature: 'connection tracking', modules: ['nf_conntrack'], config: 'NF_CONNTRACK', required: true },
    use: 'the pod filter and NAT',
  },
  {
    ...{ feature: 'copies of packets', modules: ['nfnetlink_log'], config: 'NETFILTER_NETLINK_LOG', required: true },
    use: 'policies: rules that deny hand out copies',
  },
  {
    ...{ feature: 'nftables log', modules: ['nft_log'], config: 'NFT_LOG', required: true },
    use: 'policies: rules that deny hand out copies',
  },
  {
    ...{ feature: 'nftables limit', modules: ['nft_limit'], config: 'NFT_LIMIT', required: true },
    use: 'policies: how many copies, and limits of pods',
  },
  {
    ...{ feature: 'nftables fib', modules: ['nft_fib_inet'], config: 'NFT_FIB_INET', required: true },
    use: 'the pod filter: which addresses are those of the node',
  },
  {
    ...{ feature: 'list of connections', modules: ['nf_conntrack_netlink'], config: 'NF_CT_NETLINK', required: false },
    use: 'deletes connections of earlier pods, and those that a policy denies by now',
  },
  { feature: 'NAT', modules: ['nft_chain_nat'], config: 'NFT_NAT', required: false, use: 'pools with natOutgoing' },
  { feature: 'masquerade', modules: ['nft_masq'], config: 'NFT_MASQ', required: false, use: 'pools with natOutgoing' },
  {
    feature: 'IP-in-IP',
    modules: ['ipip'],
    config: 'NET_IPIP',
    required: false,
    use: 'pools with ipipMode; VXLAN is taken without it',
  },
  { feature: 'VXLAN', modules: ['vxlan'], config: 'VXLAN', required: false, use: 'pools with vxlanMode' },
  ...(
    [
      ['token buckets', 'sch_tbf', 'NET_SCH_TBF'],
      ['ingress filters', 'sch_ingress', 'NET_SCH_INGRESS'],
      ['u32 filters', 'cls_u32', 'NET_CLS_U32'],
      ['redirection', 'act_mirred', 'NET_ACT_MIRRED'],
      ['ifb', 'ifb', 'IFB'],
    ] as const
  ).map(([feature, module, config]) => ({
    ...{ feature, modules: [module], config, required: false },
    use: 'pods that ask for a bandwidth',
  })),
  { feature: 'IPv6', modules: ['ipv6'], config: 'IPV6', required: false, use: 'IPv6 pools' },
]

/** `path` below /proc/sys; `fits` says whether the value will do, and `remedy` what to do if not. */
type SettingRow = { path: string; fits(value: string): boolean; required: boolean; wanted: string; remedy: string }

const SETTINGS: readonly SettingRow[] = [
  {
    ...{ path: 'user/max_net_namespaces', fits: value => Number(value) > 0, required: true, wanted: 'more than 0' },
    remedy: 'sysctl -w user.max_net_namespaces=15000, and in /etc/sysctl.d/',
  },
  {
    ...{ path: 'net/netfilter/nf_conntrack_max', fits: value => Number(value) >= 32_768, required: false },
    ...{ wanted: '32768 or more', remedy: 'sysctl -w net.netfilter.nf_conntrack_max=131072, and in /etc/sysctl.d/' },
  },
  {
    ...{
      path: 'net/ipv6/conf/all/disable_ipv6',
      fits: value => value === '0',
      required: false,
      wanted: '0 for IPv6 pools',
    },
    remedy: 'sysctl -w net.ipv6.conf.all.disable_ipv6=0',
  },
  {
    ...{ path: 'kernel/modules_disabled', fits: value => value === '0', required: false, wanted: '0' },
    remedy: 'a kernel that loads no modules any more needs those above loaded at boot: /etc/modules-load.d/',
  },
]

/** `unknown`: no file tells, such as where the modules' folder is not there. */
export type State = 'ok' | 'missing' | 'unknown'

export type Finding = { name: string; state: State; detail: string; required: boolean; use: string; remedy: string }

/** Looks at the files below `root`, `/` for this machine. `config`: another file with the kernel's build options. */
export function kernelFindings(root: string, config?: string): Finding[] {
  const kernel = kernelFiles(root, config)
  return [...FEATURES.map(row => featureFinding(row, kernel)), ...SETTINGS.map(row => settingFinding(row, root))]
}

type KernelFiles = {
  loaded(name: string): boolean
  /** undefined: there is no such file. */
  builtin: ReadonlySet<string> | undefined
  loadable: ReadonlySet<string> | undefined
  options: ReadonlyMap<string, string> | undefined
}

function kernelFiles(root: string, config: string | undefined): KernelFiles {
  const release = textOf(join(root, 'proc/sys/kernel/osrelease'))?.trim() ?? ''
  const modules = (file: string): ReadonlySet<string> | undefined => {
    const text = textOf(join(root, 'lib/modules', release, file))
    return text === undefined ? undefined : new Set(text.split('\n').map(moduleName))
  }
  const options = [config, join(root, 'proc/config.gz'), join(root, 'boot', `config-${release}`)]
    .filter(path => path !== undefined)
    .map(textOf)
    .find(text => text !== undefined)
  return {
    loaded: name => existsSync(join(root, 'sys/module', name)),
    ...{ builtin: modules('modules.builtin'), loadable: modules('modules.dep') },
    options:
      options === undefined
        ? undefined
        : new Map([...options.matchAll(/^CONFIG_(\w+)=(\S+)$/gm)].map(([, name = '', value = '']) => [name, value])),
  }
}

/** `nf_tables` of `kernel/net/netfilter/nf_tables.ko.xz: ...`. */
function moduleName(line: string): string {
  const [, name = ''] = /([^/:]+)\.ko(?:\.\w+)?(?::|$)/.exec(line) ?? []
  return name.replaceAll('-', '_')
}

function featureFinding({ feature, modules, config, required, use }: FeatureRow, kernel: KernelFiles): Finding {
  const [state, detail] = stateOf(modules, config, kernel)
  const remedy =
    state === 'ok'
      ? ''
      : state === 'missing'
        ? `use a kernel with CONFIG_${config}, or install the package with its modules (Debian: linux-image-amd64, Ubuntu: linux-modules-extra)`
        : `no file tells whether it is there: look at it with modprobe -n ${modules[0]}`
  return { name: feature, state, detail, required, use, remedy }
}

function stateOf(modules: readonly string[], config: string, kernel: KernelFiles): [State, string] {
  const { loaded, builtin, loadable, options } = kernel
  if (modules.some(loaded)) return ['ok', 'in the running kernel']
  if (modules.some(name => builtin?.has(name))) return ['ok', 'built in']
  if (modules.some(name => loadable?.has(name))) return ['ok', 'a module that can be loaded']
  if (options?.get(config) === 'y') return ['ok', 'built in']
  if (builtin !== undefined && loadable !== undefined) return ['missing', 'not in the kernel and no module']
  if (options !== undefined && !options.has(config)) return ['missing', `the kernel is built without CONFIG_${config}`]
  return ['unknown', 'the folder of the modules is not there']
}

function settingFinding({ path, fits, required, wanted, remedy }: SettingRow, root: string): Finding {
  const name = path.replaceAll('/', '.')
  const value = textOf(join(root, 'proc/sys', path))?.trim()
  if (value === undefined)
    return { name, state: 'unknown', detail: 'not there', required: false, use: `wanted: ${wanted}`, remedy: '' }
  const state = fits(value) ? 'ok' : 'missing'
  return { name, state, detail: value, required, use: `wanted: ${wanted}`, remedy: state === 'ok' ? '' : remedy }
}

/** undefined when it is not there or may not be read. */
function textOf(path: string): string | undefined {
  try {
    const octets = readFileSync(path)
    return path.endsWith('.gz') ? gunzipSync(octets).toString() : octets.toString()
  } catch {
    return undefined
  }
}
