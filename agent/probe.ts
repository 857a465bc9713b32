// `margay-node probe`: the probes of a kubelet, which runs it inside the agent's container. The agent's socket is 0600, and it
// listens at no port for this: on the network of the host everybody could ask there, pods too.
import { join } from 'node:path'
import { request } from '../lib/http.ts'

export type Probed = 'live' | 'ready'

const PATHS = { live: '/livez', ready: '/readyz' } as const satisfies Record<Probed, string>
/** The kubelet waits for 5 s. */
const PATIENCE_MS = 4000
/** The answer of a node with very many conditions. */
const MOST_PRINTED = 4000

/** 0 when the answer is yes; 1 when it is no, or there is none: then it is printed, for the kubelet's event. */
export function probe(runDir: string, what: Probed): Promise<0 | 1> {
  const socketPath = join(runDir, 'agent.sock')
  const told = (why: string): 1 => {
    console.log(why.slice(0, MOST_PRINTED))
    return 1
  }
  return new Promise(resolve => {
    const asked = request({ socketPath, path: PATHS[what], timeout: PATIENCE_MS, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        text += part
      })
      response.on('end', () => resolve(response.statusCode === 200 ? 0 : told(brokenOnes(text))))
    })
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${PATIENCE_MS} ms`)))
    asked.on('error', error => resolve(told(`${socketPath}: ${error.message}`)))
    asked.end()
  })
}

/** The messages of what is broken; the text itself when it is something else. */
function brokenOnes(text: string): string {
  try {
    const conditions = JSON.parse(text) as { type: string; status: string; message: string }[]
    return conditions
      .filter(({ status }) => status !== 'True')
      .map(({ type, message }) => `${type}: ${message}`)
      .join('; ')
  } catch {
    return text // not a list of conditions: whatever it is, it is told
  }
}
