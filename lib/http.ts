// node:http without fetch of Node: an `import` of node:http reads each of its exports, WebSocket too, which loads fetch.
// That costs 60 ms of processor time and 6 MB at each start.
import type http from 'node:http'

const node: typeof http = process.getBuiltinModule('node:http')

export const { Agent, createServer, request } = node
