import test from 'ava'
import { exabgp } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, exabgp)
