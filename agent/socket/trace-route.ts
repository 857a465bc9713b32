// `POST /trace`: an order of `margayctl explain --probe`. Whoever may connect to this socket sends packets as any pod of the node.
import { type TraceAnswer, type TraceOrder, traceOrder } from '../../api/trace.ts'
import { bodyText, type HttpRoute, send } from '../../lib/http-routes.ts'
import type { TraceRefusal } from '../trace/tracer.ts'

/** Octets of an order. */
const MOST_BODY = 4096

export function traceRoute(answer: (order: TraceOrder) => Promise<TraceAnswer | TraceRefusal>): HttpRoute {
  return async (request, response) => {
    const text = await bodyText(request, MOST_BODY)
    const order = text === undefined ? undefined : parsed(text)
    if (order === undefined || 'fault' in order) {
      const error = order === undefined ? `an order has at most ${MOST_BODY} octets` : order.fault
      return send(response, 400, { error })
    }
    const given = await answer(order)
    if ('status' in given) send(response, given.status, { error: given.error })
    else send(response, 200, given)
  }
}

function parsed(text: string): TraceOrder | { fault: string } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { fault: 'the order is no JSON' }
  }
  const { data, error } = traceOrder.safeParse(value)
  if (data !== undefined) return data
  const [{ path, message } = { path: [], message: 'it is no order' }] = error.issues
  return { fault: `${path.join('.')}: ${message}` }
}
