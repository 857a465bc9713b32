import test from 'ava'
import { gobgp } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, gobgp)
