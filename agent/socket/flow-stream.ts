// Flows to one who follows, as lines of JSON (application/x-ndjson) until the reader leaves. A reader that does not keep up
// loses flows and is told how many: what waits for it is bounded.
import type { ServerResponse } from 'node:http'
import type { FlowLine } from '../../api/answers.ts'
import { send } from '../../lib/http-routes.ts'
import type { Flows } from '../flows/flows.ts'

/** Octets that wait for a reader, beside what the kernel keeps. */
const MOST_WAITING = 1 << 18

export function streamFlows(flows: Pick<Flows, 'follow'>, response: ServerResponse): void {
  let lost = 0
  const write = (line: FlowLine) => void response.write(`${JSON.stringify(line)}\n`)
  const following = flows.follow(line => {
    if (response.writableLength > MOST_WAITING) {
      lost += 'lost' in line ? line.lost : 1
      return
    }
    if (lost > 0) write({ lost })
    lost = 0
    write(line)
  })
  if (following === undefined) {
    send(response, 503, { error: 'too many follow the flows of this node already: end one of them' })
    return
  }
  response.on('close', () => following.close())
  response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders()
}
