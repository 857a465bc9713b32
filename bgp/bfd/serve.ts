// The sessions at work in the thread of BFD: it has timers and sockets of its own, so that nothing that keeps the thread of the
// speaker busy, such as a full table or a collection of garbage, delays a packet.
import { randomInt } from 'node:crypto'
import type { MessagePort } from 'node:worker_threads'
import { systemClock } from '../../lib/clock.ts'
import type { Scheduling } from './config.ts'
import type { BfdReport, BfdRequest } from './messages.ts'
import type { BfdSockets } from './port.ts'
import { Sessions } from './sessions.ts'

/** Does what is asked over `port`, until it is told to close. `scheduling`: what this thread has. */
export function serveBfd(port: MessagePort, sockets: BfdSockets, scheduling: Scheduling): void {
  const say = (report: BfdReport) => port.postMessage(report)
  const sessions = new Sessions({
    clock: systemClock,
    random32: () => randomInt(2 ** 32),
    sockets,
    changed: change => say({ type: 'change', change }),
  })
  port.on('message', (request: BfdRequest) => {
    switch (request.do) {
      case 'set':
        sessions.set(request.name, request.config)
        break
      case 'status':
        say({ type: 'status', id: request.id, status: { scheduling, ...sessions.status() } })
        break
      case 'close':
        sessions.close()
        port.close()
        break
      default:
        sessions[request.do](request.name)
    }
  })
}
