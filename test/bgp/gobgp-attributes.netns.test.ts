import test from 'ava'
import { attributeSuite } from './attribute-suite.ts'
import { gobgp } from './daemons.ts'

attributeSuite(test, gobgp)
