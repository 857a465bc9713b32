// The example of bgp/README.md in this repository; test/package runs it from the installed package.
import test from 'ava'
import { assertExampleRuns } from './example.ts'

const root = new URL('../..', import.meta.url).pathname

test('the example peers with a router, prints what it announces and announces a prefix', t =>
  assertExampleRuns(t, root, ['--conditions=margay-source']))
