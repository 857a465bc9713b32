// CHECK of the policies of a pod, on this machine's kernel in namespaces of the test's own.
import test from 'ava'
import { LABEL, type PolicyRule } from '../../felix/policy/model.ts'
import { addressOf, conf, type Result, resultOf, type TestNode, withNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

const ALLOW: PolicyRule = { action: 'allow', source: {}, destination: {} }

/** Waits for a pass; what it is refused elsewhere, such as an uplink that is not there, does not matter here. */
const passed = ({ felix }: TestNode): Promise<void> => felix.applied().catch(() => undefined)

/** Tells felix of these pods, by their names and interfaces, and of a policy for `web`. */
function tellPolicies({ felix }: TestNode, pods: Readonly<Record<string, Result>>): void {
  felix.setPolicy('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
  felix.setPolicy('profile', 'kns.default', { ingress: [ALLOW], egress: [ALLOW] })
  const ports = { ranges: [80, 443, 8080].map(port => ({ first: port, last: port })), names: [] }
  felix.setPolicy('policy', 'friends', {
    ...{ ref: { kind: 'NetworkPolicy', namespace: 'default', name: 'friends' }, tier: 'default', order: 1000 },
    ...{ sortName: 'friends', selector: "app == 'web'", hostStage: 'normal' },
    ingress: [{ action: 'allow', protocol: 6, source: { selector: "app == 'friend'" }, destination: { ports } }],
  })
  for (const [name, result] of Object.entries(pods)) {
    const labels = { app: name, [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' }
    felix.setPolicy('endpoint', name, { kind: 'pod', labels, addresses: [addressOf(result)], ports: [] })
    felix.setLocalEndpoint(name, { interfaceName: result.interfaces[0]!.name, profiles: ['kns.default'] })
  }
  felix.complete('policy')
}

asRoot(
  'CHECK names what the policies of a pod lack in the kernel: an element, a set, a rule, a chain, a table, and nothing of others',
  t =>
    withNode(async node => {
      const pods: Record<string, Result> = {}
      const netns: Record<string, string> = { web: node.pod(), friend: node.pod() }
      for (const [name, path] of Object.entries(netns))
        pods[name] = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: name, CNI_NETNS: path }))
      tellPolicies(node, pods)
      await passed(node)
      const checked = async (name = 'web') => {
        const env = { CNI_CONTAINERID: name, CNI_NETNS: netns[name] }
        const check = await node.run('CHECK', env, conf({ prevResult: pods[name] }))
        return check.code === 0 ? [] : String(check.json?.['msg']).split('; ')
      }
      t.deepEqual([await checked(), await checked('friend')], [[], []])
      await node.felix.close() // felix would restore everything within a second
      const nft = async (...args: string[]) => {
        const { code, stdout } = await node.exec(node.netns, 'nft', ...args)
        t.is(code, 0, args.join(' '))
        return stdout
      }
      const table = ['inet', 'margay-policy']
      const web = pods['web']!.interfaces[0]!.name
      const listed = await nft('list', 'map', ...table, 'to_pod')
      const list = new RegExp(`"${web}" : goto (\\S+?)[ ,\\n]`).exec(listed)?.[1] ?? ''
      const set = /@(\S+)/.exec(await nft('list', 'chain', ...table, list))?.[1] ?? ''

      await nft('add', 'element', ...table, set, '{ 192.0.2.9 }')
      const added = `nft element inet margay-policy ${set} { 192.0.2.9 } on the host is there, not absent`
      t.deepEqual([await checked(), await checked('friend')], [[added], []])
      await nft('flush', 'set', ...table, set)
      const missing = `nft element inet margay-policy ${set} { ${addressOf(pods['friend']!)} } on the host is missing`
      t.deepEqual([await checked(), await checked('friend')], [[missing], []])

      await nft('insert', 'rule', ...table, list, 'accept')
      const more = `nft rule 1 of inet margay-policy ${list} on the host is there, not absent`
      t.deepEqual([await checked(), await checked('friend')], [[missing, more], []])
      await nft('flush', 'chain', ...table, list)
      t.regex((await checked())[1] ?? '', new RegExp(`^nft rule 1 of inet margay-policy ${list} .*is missing$`))

      await nft('delete', 'element', ...table, 'from_pod', `{ "${web}" }`)
      t.true((await checked()).includes(`nft element inet margay-policy from_pod { ${web} } on the host is missing`))
      t.deepEqual(await checked('friend'), [])

      await nft('delete', 'chain', ...table, 'forward_to')
      t.deepEqual(await checked('friend'), ['nft chain inet margay-policy forward_to on the host is missing'])
      await nft('delete', 'table', ...table)
      t.deepEqual(await checked('friend'), ['nft table inet margay-policy on the host is missing'])
    }),
)

asRoot('CHECK finds a pod closed that no policies are known of, and well when they are', t =>
  withNode(async node => {
    const netns = node.pod()
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    const checked = async () => {
      const check = await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: result }))
      return check.code === 0 ? [] : String(check.json?.['msg']).split('; ')
    }
    node.felix.complete('policy')
    await passed(node)
    const { name } = result.interfaces[0]!
    t.deepEqual(await checked(), [`nft element inet margay-policy from_pod { ${name} } on the host is missing`])
    tellPolicies(node, { web: result })
    await passed(node)
    t.deepEqual(await checked(), [])
  }),
)

asRoot('CHECK names what the limits of a pod lack in the kernel, and nothing of a pod without limits', t =>
  withNode(async node => {
    const pods: Record<string, Result> = {}
    const netns: Record<string, string> = { web: node.pod(), friend: node.pod() }
    for (const [name, path] of Object.entries(netns))
      pods[name] = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: name, CNI_NETNS: path }))
    tellPolicies(node, pods)
    const web = pods['web']!.interfaces[0]!.name
    const qos = { ingress: { rate: { perSecond: 1000, burst: 5 } }, dscp: 10 }
    node.felix.setLocalEndpoint('web', { interfaceName: web, profiles: ['kns.default'], qos })
    await passed(node)
    const checked = async (name: string) => {
      const env = { CNI_CONTAINERID: name, CNI_NETNS: netns[name] }
      const check = await node.run('CHECK', env, conf({ prevResult: pods[name] }))
      return check.code === 0 ? [] : String(check.json?.['msg']).split('; ')
    }
    t.deepEqual([await checked('web'), await checked('friend')], [[], []])
    await node.felix.close() // felix would restore everything within a second
    const nft = async (...args: string[]) => t.is((await node.exec(node.netns, 'nft', ...args)).code, 0, args.join(' '))
    await nft('flush', 'chain', 'inet', 'margay-qos', `to-${web}`)
    const missing = `nft rule 1 of inet margay-qos to-${web} "ingress packet rate of web" on the host is missing`
    t.deepEqual([await checked('web'), await checked('friend')], [[missing], []])
    await nft('delete', 'table', 'inet', 'margay-qos')
    const table = 'nft table inet margay-qos on the host is missing'
    t.deepEqual([await checked('web'), await checked('friend')], [[table], []])
  }),
)
