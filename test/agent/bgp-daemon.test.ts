// margay-bgp as a whole, without root: its file, a table dump, its control socket and a BMP collector on the loopback.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import test from 'ava'
import pino from 'pino'
import { BfdOnDemand } from '../../agent/bfd-on-demand.ts'
import { BgpDaemon } from '../../agent/bgp-daemon.ts'
import { BfdThread } from '../../bgp/bfd/thread.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { bmpSplitter, parseBmp } from '../../bgp/wire/bmp.ts'
import { emitMrt, mrtSplitter, parseMrt } from '../../bgp/wire/mrt.ts'
import { Writer } from '../../lib/bytes.ts'
import { programFile } from '../../lib/package-files.ts'
import { until } from '../bgp/interop.ts'

/** A daemon with this configuration in a folder of its own, and what it logs. */
async function daemon(config: string, files: Readonly<Record<string, Uint8Array>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'margay-bgp-'))
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes)
  const path = join(folder, 'bgp.yaml')
  const control = join(folder, 'control')
  const write = (text: string) =>
    writeFileSync(path, `asn: 65001\nrouterId: 192.0.2.1\ncontrol: ${control}\n${text.replaceAll('FOLDER', folder)}`)
  write(config)
  const said: string[] = []
  const log = pino(
    new Writable({
      write(line, _encoding, done) {
        said.push(String(line))
        done()
      },
    }),
  )
  const it = new BgpDaemon(path, {
    transport: new TcpTransport(),
    openKernel: () => {
      throw new Error('no kernel here')
    },
    discover: () => () => undefined,
    bfd: new BfdOnDemand(() => new BfdThread(programFile('agent/bfd-worker'))),
    log,
  })
  await it.start()
  const stop = async () => {
    await it.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return { it, write, said, control, [Symbol.asyncDispose]: stop }
}

function get(socketPath: string, path: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path }, response => void buffer(response).then(resolve, reject))
      .on('error', reject)
      .end()
  })
}

function table(prefixes: readonly string[]): Uint8Array {
  const w = new Writer(1 << 20)
  const peers = [{ routerId: 7, address: '192.0.2.7', asn: 65007 }]
  emitMrt(w, { kind: 'peers', seconds: 0, collectorId: 1, view: '', peers })
  const attributes = { origin: 0, asPath: [], nextHop: 0xc0000207 }
  for (const [sequence, prefix] of prefixes.entries())
    emitMrt(w, {
      ...{ kind: 'rib', seconds: 0, sequence, prefix },
      entries: [{ peer: 0, originatedSeconds: 0, attributes }],
    })
  return w.done().slice()
}

test('a table dump is loaded at the start, and GET /dump gives the RIB as one', async t => {
  const prefixes = Array.from({ length: 3000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`)
  await using d = await daemon('mrt: {load: FOLDER/rib.mrt}\n', { 'rib.mrt': table(prefixes) })
  await until('the table is loaded', () => d.said.some(line => line.includes('all routes are read from MRT')))
  const found: string[] = []
  const failure = mrtSplitter().push(await get(d.control, '/dump'), (bytes, start, end) => {
    const record = parseMrt(bytes, start, end)
    if (record.kind === 'rib') found.push(record.prefix)
  })
  t.is(failure, undefined)
  t.deepEqual(found.sort(), prefixes.toSorted())
})

test('a table dump that cannot be used is an error in the log with the offset, and the program goes on', async t => {
  const whole = table(['10.0.0.0/24', '10.0.1.0/24'])
  await using d = await daemon('mrt: {load: FOLDER/rib.mrt}\n', { 'rib.mrt': whole.subarray(0, whole.length - 1) })
  await until('the fault is told', () => d.said.some(line => line.includes('it is truncated')))
  t.regex(d.said.join(''), /at octet \d+: the file ends after \d+ octets of this record/)
  t.is(d.it.speaker.explain('10.0.0.0/24')?.candidates.length, 1)
  await using missing = await daemon('mrt: {load: FOLDER/none}\n')
  await until('the fault is told', () => missing.said.some(line => line.includes('ENOENT')))
  t.deepEqual(JSON.parse(String(await get(missing.control, '/peers'))), [])
})

test('a reload changes the use of several paths under living sessions, and refuses another AS number', async t => {
  await using d = await daemon('multipath: {paths: 8, of: ebgp}\n')
  d.write('multipath: {paths: 2, of: merge}\n')
  t.true((await d.it.reload({ dryRun: true })).multipath)
  t.deepEqual(d.it.speaker.config.multipath, { paths: 8, of: 'ebgp' })
  await d.it.reload()
  t.deepEqual(d.it.speaker.config.multipath, { paths: 2, of: 'merge' })
  d.write('')
  t.true((await d.it.reload()).multipath)
  t.is(d.it.speaker.config.multipath, undefined)
  d.write('clusterId: 192.0.2.9\n')
  await t.throwsAsync(d.it.reload(), { message: /cannot change while the program runs/ })
})

test('a reload connects a new BMP collector and says good-bye to one that is gone', async t => {
  const kinds: string[] = []
  const splitter = bmpSplitter()
  const station = createServer((socket: Socket) => {
    socket.on('data', chunk =>
      splitter.push(chunk, (bytes, start, end) => kinds.push(parseBmp(bytes, start, end).kind)),
    )
    socket.on('error', () => undefined)
  })
  await new Promise<void>(resolve => station.listen(0, '127.0.0.1', resolve))
  const { port } = station.address() as { port: number }
  {
    await using d = await daemon('')
    d.write(`bmp: [{collector: 127.0.0.1, port: ${port}}]\n`)
    await d.it.reload()
    await until('the initiation', () => kinds.includes('initiation'))
    const [status] = JSON.parse(String(await get(d.control, '/bmp'))) as { collector: string }[]
    t.is(status?.collector, `127.0.0.1 port ${port}`)
    d.write('')
    await d.it.reload()
    await until('the termination', () => kinds.includes('termination'))
    t.deepEqual(JSON.parse(String(await get(d.control, '/bmp'))), [])
  }
  station.close()
  t.deepEqual(kinds, ['initiation', 'termination'])
})
