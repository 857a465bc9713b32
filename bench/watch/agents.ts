// The watches of many agents in a process of their own: each is a connection whose bytes are counted and thrown away. Told by
// messages: an order to open watches, then a report for each question.
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export type AgentsOrder = {
  open: { host: string; port: number; paths: readonly { path: string; token: string }[]; parallel: number }
}
export type AgentsReport = {
  /** Watches whose answer has begun, and those that ended since. */
  open: number
  ended: number
  bytes: number
  /** Objects that were told as changed. */
  changes: number
}

const CHANGED = Buffer.from('"type":"MODIFIED"')

const report: AgentsReport = { open: 0, ended: 0, bytes: 0, changes: 0 }

process.on('message', (message: AgentsOrder | 'report') => {
  if (message === 'report') process.send?.(report)
  else void openAll(message.open)
})

async function openAll({ host, port, paths, parallel }: AgentsOrder['open']): Promise<void> {
  let next = 0
  const work = async (): Promise<void> => {
    while (next < paths.length) {
      const { path, token } = paths[next++]!
      await openOne(host, port, path, token)
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
}

/** Resolves when the server took the request. */
function openOne(host: string, port: number, path: string, token: string): Promise<void> {
  const begun = Promise.withResolvers<void>()
  const socket = connect(port, host, () =>
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n\r\n`),
  )
  let answered = false
  socket.on('data', chunk => {
    if (!answered) {
      const [line = ''] = chunk.toString('latin1').split('\r\n')
      if (!line.includes(' 200 ')) throw new Error(`${path}: ${chunk.toString('latin1').slice(0, 500)}`)
      report.open++
      begun.resolve()
    }
    answered = true
    report.bytes += chunk.length
    for (let at = chunk.indexOf(CHANGED); at >= 0; at = chunk.indexOf(CHANGED, at + 1)) report.changes++
  })
  socket.on('error', () => socket.destroy())
  socket.once('close', () => {
    report.ended++
    begun.resolve()
  })
  return Promise.race([begun.promise, sleep(20_000)])
}
