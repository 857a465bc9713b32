// The examples of bgp/README.md in this repository; test/package runs the first one from the installed package.
import test from 'ava'
import { assertExampleRuns, assertPathsExampleRuns } from './example.ts'

const root = new URL('../..', import.meta.url).pathname

test('the example peers with a router, prints what it announces and announces a prefix', t =>
  assertExampleRuns(t, root, ['--conditions=margay-source']))

test('the example of several paths shares a network between two routers that its filter lets in, and leaves one that cannot be reached', t =>
  assertPathsExampleRuns(t, root, ['--conditions=margay-source']))
