import test from 'ava'
import { openbgpd } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, openbgpd)
