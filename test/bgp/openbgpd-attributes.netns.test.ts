import test from 'ava'
import { attributeSuite } from './attribute-suite.ts'
import { openbgpd } from './daemons.ts'

attributeSuite(test, openbgpd)
