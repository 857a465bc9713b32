import test from 'ava'
import { birdBfd } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, birdBfd)
