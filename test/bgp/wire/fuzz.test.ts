// A short run of every fuzzer; `npm run fuzz` runs them for longer.
import test from 'ava'
import fc from 'fast-check'
import { fuzzers, property } from './fuzz.ts'

for (const fuzzer of fuzzers)
  test(`${fuzzer.name}: any octets are read without an exception, and what is accepted means the same after being written`, t => {
    t.notThrows(() => fc.assert(property(fuzzer), { numRuns: 1500 }))
  })
