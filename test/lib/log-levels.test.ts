import test from 'ava'
import { createLog } from '../../lib/log.ts'
import { LogLevels } from '../../lib/log-levels.ts'

function world() {
  const lines: string[] = []
  const log = createLog('test', 'info', { write: line => lines.push(line) })
  const levels = new LogLevels(log, ['agent', 'bgp'], 'agent')
  const said = () => {
    for (const each of [log, levels.room('agent'), levels.room('bgp')]) each.debug('x')
    return lines.splice(0).map(line => (JSON.parse(line) as { room?: string }).room ?? '')
  }
  return { levels, said }
}

test('every room begins with the level of the program, and a line says its room', t => {
  const { levels, said } = world()
  t.deepEqual(said(), [])
  t.deepEqual(levels.levels(), [
    { room: 'agent', level: 'info', from: 'option' },
    { room: 'bgp', level: 'info', from: 'option' },
  ])
  levels.configure({ all: 'debug' })
  t.deepEqual(said(), ['', 'agent', 'bgp'])
})

test('configuration goes before the option, a room of it before all, and what a person asks for before both until they take it back', t => {
  const { levels, said } = world()
  levels.configure({ all: 'error', rooms: { bgp: 'debug' } })
  t.deepEqual(said(), ['bgp'])
  levels.request('agent', 'debug')
  levels.request('bgp', 'silent')
  t.deepEqual(said(), ['', 'agent'])
  t.deepEqual(levels.levels(), [
    { room: 'agent', level: 'debug', from: 'request' },
    { room: 'bgp', level: 'silent', from: 'request' },
  ])
  levels.configure({ all: 'trace' })
  t.deepEqual(said(), ['', 'agent'], 'the request stays')
  levels.request(undefined, undefined)
  t.deepEqual(said(), ['', 'agent', 'bgp'])
  levels.configure({})
  t.deepEqual(levels.levels(), [
    { room: 'agent', level: 'info', from: 'option' },
    { room: 'bgp', level: 'info', from: 'option' },
  ])
})
