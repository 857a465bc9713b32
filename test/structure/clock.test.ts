// Code takes the time from a `Clock`, so that its tests move time themselves. Which files read the system's time or set
// its timers, and why each may, is a table.
import test from 'ava'
import { files, textOf } from './source.ts'

const ROOMS = ['agent', 'api', 'bgp', 'cni', 'controllers', 'datastore', 'felix', 'ipam', 'kernel', 'lib']
const OF_THE_SYSTEM = /(?<!\.)\b(setTimeout|setInterval|Date\.now|performance\.now)\b/

const MAY: Readonly<Record<string, string>> = {
  'bgp/tcp-transport.ts': 'limits of real sockets; tests use a transport in memory',
  'bgp/work-queue.ts': 'measures how long its own work takes',
  'datastore/connection.ts': 'limit of a real HTTP request',
  'datastore/credentials.ts': 'age of a file of the real file system',
  'kernel/echo.ts': 'polls a real socket and measures the answer',
  'kernel/linux/dump-walk.ts': 'measures how long its own work takes',
  'kernel/probe-sender.ts': 'polls a real socket',
  'kernel/router-advertisement.ts': 'polls a real socket',
  'lib/clock.ts': 'is the clock',
}

test('time and timers come from a Clock, but for the files in the table', t => {
  const found = files.filter(file => ROOMS.includes(file.split('/')[0]!) && OF_THE_SYSTEM.test(code(file)))
  t.deepEqual(found, Object.keys(MAY))
})

/** The text of a file without comments that fill their line. */
function code(file: string): string {
  return textOf(file)
    .split('\n')
    .filter(line => !/^\s*(\/\/|\/?\*)/.test(line))
    .join('\n')
}
