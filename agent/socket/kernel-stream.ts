// `GET /kernel`: what this node's kernel has, as lines of JSON. One at a time: it reads all of it.
import type { KernelLine } from '../../api/kernel-line.ts'
import { type HttpRoute, send } from '../../lib/http-routes.ts'
import { LineStream } from './line-stream.ts'

export function kernelRoute(state: () => AsyncIterable<KernelLine>): HttpRoute {
  let isBusy = false
  return async (_request, response) => {
    if (isBusy) {
      send(response, 503, { error: 'the kernel is read for somebody else just now: ask again' })
      return
    }
    isBusy = true
    try {
      const lines = new LineStream<KernelLine>(response)
      for await (const line of state()) {
        if (lines.isGone) break
        await lines.send(line)
      }
      response.end()
    } finally {
      isBusy = false
    }
  }
}
