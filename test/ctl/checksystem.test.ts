import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import type { Finding } from '../../ctl/kernel-features.ts'
import { runHere } from './run.ts'

/** A file system with these files; the kernel is `6.1-test`. */
function machine(t: ExecutionContext, files: Record<string, string | Buffer>): string {
  const root = mkdtempSync(join(tmpdir(), 'margay-machine-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  const all = { 'proc/sys/kernel/osrelease': '6.1-test\n', 'proc/sys/user/max_net_namespaces': '15000\n', ...files }
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return root
}

async function checked(root: string): Promise<{ code: number; found: (name: string) => Finding }> {
  const { code, out } = await runHere(['node', 'checksystem', '--root', root, '-o', 'json'])
  const { findings } = JSON.parse(out) as { findings: Finding[] }
  return { code, found: name => findings.find(each => each.name === name)! }
}

const POLICY = ['nfnetlink_log', 'nft_log', 'nft_limit', 'nft_fib_inet']
const modules = (names: readonly string[]) => names.map(name => `kernel/net/${name}.ko.xz:\n`).join('')
const MODULES = modules(['veth', 'nf_tables', 'nf_conntrack', 'vxlan', ...POLICY])

test('a feature is there when it is loaded, built in, or a module beside the kernel', async t => {
  const root = machine(t, {
    'sys/module/nf_tables/refcnt': '1',
    'lib/modules/6.1-test/modules.builtin': 'kernel/drivers/net/veth.ko\n',
    'lib/modules/6.1-test/modules.dep': `kernel/net/nf_conntrack.ko.zst: kernel/net/x.ko\nkernel/net/nft_masq.ko:\n${modules(POLICY)}`,
  })
  const { code, found } = await checked(root)
  t.is(code, 0)
  t.like(found('nftables'), { state: 'ok', detail: 'in the running kernel' })
  t.like(found('veth'), { state: 'ok', detail: 'built in' })
  t.like(found('masquerade'), { state: 'ok', detail: 'a module that can be loaded' })
  t.like(found('IP-in-IP'), { state: 'missing', required: false })
  t.like(found('token buckets'), { state: 'missing', required: false, use: 'pods that ask for a bandwidth' })
})

test('a required feature that is missing makes the answer no, and its line says what to do', async t => {
  const root = machine(t, {
    'lib/modules/6.1-test/modules.builtin': '',
    'lib/modules/6.1-test/modules.dep': MODULES.replace('nf_tables', 'other'),
  })
  const { code, found } = await checked(root)
  t.is(code, 1)
  t.regex(found('nftables').remedy, /CONFIG_NF_TABLES/)
})

test('a kernel that cannot hand out copies of packets takes no rules of policies', async t => {
  for (const absent of POLICY) {
    const root = machine(t, {
      'lib/modules/6.1-test/modules.builtin': '',
      'lib/modules/6.1-test/modules.dep': MODULES.replace(`/${absent}.ko`, '/other.ko'),
    })
    t.is((await checked(root)).code, 1, absent)
  }
})

test("the kernel's build options tell where there is no folder of modules, and without both nothing is claimed", async t => {
  const config = 'CONFIG_VETH=y\n# CONFIG_NF_TABLES is not set\nCONFIG_NF_CONNTRACK=y\n'
  const built = await checked(machine(t, { 'proc/config.gz': gzipSync(config) }))
  t.is(built.code, 1)
  t.like(built.found('veth'), { state: 'ok', detail: 'built in' })
  t.like(built.found('nftables'), { state: 'missing', detail: 'the kernel is built without CONFIG_NF_TABLES' })
  const silent = await checked(machine(t, {}))
  t.is(silent.code, 0)
  t.like(silent.found('nftables'), { state: 'unknown' })
})

test('a setting that stops pods is named with the command that corrects it', async t => {
  const { code, found } = await checked(machine(t, { 'proc/sys/user/max_net_namespaces': '0\n' }))
  t.is(code, 1)
  t.like(found('user.max_net_namespaces'), { state: 'missing', detail: '0' })
  t.regex(found('user.max_net_namespaces').remedy, /sysctl -w user\.max_net_namespaces/)
})
