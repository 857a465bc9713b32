// HTTP requests to the unix socket of an agent of the lab.
import { request } from 'node:http'

/**
 * GETs `path` from the agent's unix socket: its JSON, or undefined when nobody answers within the limit or it is not
 * ready (not 200).
 */
export function askAgent(socketPath: string, path: string, limitMs = 5000): Promise<unknown> {
  return new Promise(resolve => {
    const asked = request({ socketPath, path, timeout: limitMs }, response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () => resolve(response.statusCode === 200 ? parsed(text) : undefined))
      response.on('error', () => resolve(undefined))
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => resolve(undefined))
    asked.end()
  })
}

export type PeerRow = { node: string; address: string; type: string; state: string; since: string; reason: string }

/** What the agent of a node says of its BGP peers; undefined when it does not answer. */
export async function askPeers(node: string, socketPath: string, limitMs: number): Promise<PeerRow[] | undefined> {
  const answer = (await askAgent(socketPath, '/status', limitMs)) as { peers?: Omit<PeerRow, 'node'>[] } | undefined
  return answer?.peers?.map(({ address, type, state, since, reason }) => ({
    node,
    address,
    type,
    state,
    since,
    reason,
  }))
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
