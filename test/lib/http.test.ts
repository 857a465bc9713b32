import { spawnSync } from 'node:child_process'
import test from 'ava'

test('the agent does not load fetch of Node, which it never calls', t => {
  const program = new URL('../../agent/run.ts', import.meta.url).href
  const script = `await import(${JSON.stringify(program)})
    console.log(process.moduleLoadList.filter(name => name.includes('undici')).length)
    process.exit(0)`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
  })
  t.is(stdout, '0\n', stderr)
})
