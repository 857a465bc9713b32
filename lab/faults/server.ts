// `node lab/faults/server.ts PORT`: tells every TCP client the address that it came from, and closes.
import { createServer } from 'node:net'

const server = createServer(socket => {
  socket.on('error', () => {}) // a client that is gone heard nothing
  socket.end(`${socket.remoteAddress?.replace('::ffff:', '')}\n`)
})
server.listen(Number(process.argv[2]), '0.0.0.0')
