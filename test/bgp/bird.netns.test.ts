import test from 'ava'
import { bird } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, bird)
