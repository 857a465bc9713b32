import test from 'ava'
import { frrBfd } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, frrBfd)
