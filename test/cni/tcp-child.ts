// One end of a TCP connection, as a program in a network namespace. `serve PORT` tells each client its address and then sends
// without end. `ask HOST PORT` prints what it is told. `rate HOST PORT` prints how many bits a second come in, a line for each
// second after the first.
import { connect, createServer } from 'node:net'
import { ANSWER_MS } from '../slowness.ts'

const [mode, ...args] = process.argv.slice(2)

function serve(port: number): void {
  const chunk = Buffer.alloc(65_536)
  const server = createServer(socket => {
    const fill = (): void => {
      while (socket.write(chunk));
    }
    socket.on('error', () => {}) // the client has seen enough
    socket.write(`${socket.remoteAddress}\n`)
    socket.on('drain', fill)
    socket.once('data', fill)
  })
  server.listen(port, () => console.log('listening'))
}

function ask(host: string, port: number): void {
  const socket = connect(port, host)
  socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error('no answer')))
  socket.once('data', data => {
    console.log(`${data}`.split('\n')[0])
    socket.destroy()
  })
}

function rate(host: string, port: number): void {
  const socket = connect(port, host, () => socket.write('more'))
  let bits = 0
  let sinceMs = 0
  socket.on('data', data => {
    bits += data.length * 8
    const now = performance.now()
    if (sinceMs !== 0 && now - sinceMs < 1000) return
    if (sinceMs !== 0) console.log(Math.round((bits * 1000) / (now - sinceMs)))
    sinceMs = now
    bits = 0
  })
}

if (mode === 'serve') serve(Number(args[0]))
else if (mode === 'ask') ask(args[0]!, Number(args[1]))
else if (mode === 'rate') rate(args[0]!, Number(args[1]))
else throw new Error(`unknown mode ${mode}`)
