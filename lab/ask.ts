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

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
