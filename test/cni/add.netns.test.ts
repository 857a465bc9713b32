// The installed plugin, executed as runtimes do, against this machine's kernel in namespaces of the test's own.
import test from 'ava'
import { conf, startNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

asRoot('two pods have addresses of their own and ping each other from the first packet', async t => {
  const node = await startNode()
  try {
    const pods = [node.pod(), node.pod()]
    const results = []
    for (const [i, netns] of pods.entries()) {
      const answer = await node.run('ADD', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns })
      t.is(answer.code, 0, answer.stdout)
      results.push(answer.json as { ips: { address: string }[] })
    }
    const [a, b] = results.map(({ ips }) => ips[0]!.address.replace('/32', ''))
    t.not(a, b)
    const ping = await node.exec(pods[0]!, 'ping', '-c1', '-W1', b!)
    t.is(ping.code, 0, ping.stdout)
    const arping = await node.exec(pods[0]!, 'arping', '-c1', '-w1', '-I', 'eth0', '169.254.1.1')
    t.regex(arping.stdout, /EE:EE:EE:EE:EE:EE/)
    t.log((await node.exec(pods[0]!, 'ip', 'route')).stdout)
    t.log((await node.exec(node.netns, 'ip', 'route')).stdout)
  } finally {
    await node.close()
  }
})
