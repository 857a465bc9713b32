// Writes of the simulated cluster: plain HTTP, many at once.
import { Agent, request } from 'node:http'

/** Of the server that is measured, which holds nothing but the simulated cluster. */
export const TOKEN = 'bench-scale'
const authorization = `Bearer ${TOKEN}`

const PARALLEL = 32
const agent = new Agent({ keepAlive: true, maxSockets: PARALLEL })

export const PATHS = {
  nodes: '/api/v1/nodes',
  pods: '/api/v1/namespaces/default/pods',
  blocks: '/apis/projectcalico.org/v3/ipamblocks',
  pools: '/apis/projectcalico.org/v3/ippools',
  felixConfigurations: '/apis/projectcalico.org/v3/felixconfigurations',
  bgpPeers: '/apis/projectcalico.org/v3/bgppeers',
  bgpConfigurations: '/apis/projectcalico.org/v3/bgpconfigurations',
} as const

/** Creates every object; rejects with the server's words when one is refused. */
export async function createAll(url: string, path: string, objects: readonly object[]): Promise<void> {
  let next = 0
  const work = async (): Promise<void> => {
    while (next < objects.length) await send(url + path, 'POST', objects[next++]!)
  }
  await Promise.all(Array.from({ length: PARALLEL }, work))
}

/** A JSON merge patch. */
export function patch(url: string, path: string, body: object): Promise<void> {
  return send(url + path, 'PATCH', body, 'application/merge-patch+json')
}

/** Reads a URL to its end without keeping it; the bytes. */
export function read(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0
    const asked = request(url, { agent: false, headers: { authorization } }, response => {
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      response.once('end', () => resolve(bytes))
      response.once('error', reject)
    })
    asked.once('error', reject)
    asked.end()
  })
}

function send(url: string, method: string, body: object, type = 'application/json'): Promise<void> {
  const text = JSON.stringify(body)
  const headers = { authorization, 'content-type': type, 'content-length': Buffer.byteLength(text) }
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent, method, headers }, response => {
      let answer = ''
      response.setEncoding('utf8').on('data', chunk => {
        answer += chunk
      })
      response.once('end', () => {
        if (response.statusCode! < 300) resolve()
        else reject(new Error(`${method} ${url}: ${answer.slice(0, 300)}`))
      })
    })
    asked.once('error', reject)
    asked.end(text)
  })
}
