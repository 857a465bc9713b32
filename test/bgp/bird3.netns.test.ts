import test from 'ava'
import { bird3 } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, bird3)
