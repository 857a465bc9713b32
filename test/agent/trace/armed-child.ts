// An agent's tracer that has armed, and waits to be killed. Its argument is the path of a network namespace.
import { Tracer } from '../../../agent/trace/tracer.ts'
import { openKernel } from '../../../kernel/linux/kernel.ts'
import { sendProbe } from '../../../kernel/probe-sender.ts'
import { keepProcess, systemClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'

const tracer = new Tracer({
  ...{ kernel: openKernel().inside(process.argv[2]!), clock: systemClock, log: silentLog, send: sendProbe },
  ...{ nodeName: 'n1', table: 'margay-trace', interfacePrefix: 'cali', isOurs: () => false, podAt: () => undefined },
})
const packet = { source: '192.0.2.1', destination: '192.0.2.2', protocol: 'icmp' } as const
const answer = await tracer.answer({ do: 'arm', packet, marker: '0011223344556677' })
keepProcess()
console.log(JSON.stringify(answer))
