// A server that has Calico's resources in crd.projectcalico.org/v1 alone: margay-api behind a relay that changes names and nothing
// else, so that what lies in it is the stored form. It keeps unknown fields, as a CRD without a schema of its own does.
import { createServer, type IncomingMessage, request } from 'node:http'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { startApiServer } from '../../apiserver/server.ts'

const V1 = 'crd.projectcalico.org/v1'
const V3 = 'projectcalico.org/v3'

export type StoredFormServer = { url: string; token: string; asked: string[]; close(): Promise<void> }

/** `without`: resources whose CRD has no status, by their plurals. */
export async function startStoredFormServer({ without = [] as readonly string[] } = {}): Promise<StoredFormServer> {
  const server = await startApiServer()
  const asked: string[] = []
  const statusless = (path: string): boolean => without.some(plural => new RegExp(`/${plural}/[^/]+/status`).test(path))
  const relay = createServer(async (from, to) => {
    const url = from.url ?? ''
    asked.push(`${from.method} ${url}`)
    const notFound = { kind: 'Status', status: 'Failure', reason: 'NotFound', code: 404, message: 'no such resource' }
    if (url.startsWith(`/apis/${V3}/`) || statusless(url)) return void to.writeHead(404).end(JSON.stringify(notFound))
    const body = inward(await text(from))
    const headers = { ...from.headers, 'content-length': Buffer.byteLength(body) }
    const onward = request(server.url + inward(url), { method: from.method, headers }, answer => {
      const { 'content-length': _length, ...others } = answer.headers
      to.writeHead(answer.statusCode!, others)
      relayLines(
        answer,
        line => to.write(outward(without.reduce(hideStatus, line))),
        () => to.end(),
      )
      answer.on('error', () => to.destroy())
      to.on('close', () => onward.destroy())
    })
    onward.on('error', () => to.destroy())
    onward.end(body)
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => relay.once('listening', resolve))
  return {
    ...{ url: `http://127.0.0.1:${(relay.address() as { port: number }).port}`, token: server.token, asked },
    close: async () => {
      relay.closeAllConnections()
      relay.close()
      await server.close()
    },
  }
}

function relayLines(answer: IncomingMessage, line: (text: string) => void, end: () => void): void {
  createInterface({ input: answer, crlfDelay: Number.POSITIVE_INFINITY })
    .on('line', each => line(`${each}\n`))
    .on('error', () => undefined) // the watch was closed
    .on('close', end)
}

function inward(words: string): string {
  return words
    .replaceAll(V1, V3)
    .replaceAll('/ipamconfigs', '/ipamconfigurations')
    .replaceAll('"kind":"IPAMConfig"', '"kind":"IPAMConfiguration"')
}

function outward(words: string): string {
  return words
    .replaceAll('"projectcalico.org/v3"', `"${V1}"`)
    .replaceAll('"name":"projectcalico.org"', '"name":"crd.projectcalico.org"')
    .replaceAll('"ipamconfigurations"', '"ipamconfigs"')
    .replaceAll('"kind":"IPAMConfiguration"', '"kind":"IPAMConfig"')
}

function hideStatus(words: string, plural: string): string {
  return words.replaceAll(`"${plural}/status"`, '"nothing/status"')
}
