import test from 'ava'
import { frr } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, frr)
