// Flows to one who follows, as lines of JSON.
import type { ServerResponse } from 'node:http'
import type { FlowLine } from '../../api/answers.ts'
import { send } from '../../lib/http-routes.ts'
import type { Flows } from '../flows/flows.ts'
import { LineStream } from './line-stream.ts'

export function streamFlows(flows: Pick<Flows, 'follow'>, response: ServerResponse): void {
  // nothing comes before the next turn
  let lines: LineStream<FlowLine> | undefined
  const following = flows.follow(line => lines?.tell(line))
  if (following === undefined) {
    send(response, 503, { error: 'too many follow the flows of this node already: end one of them' })
    return
  }
  response.on('close', () => following.close())
  lines = new LineStream(response)
}
