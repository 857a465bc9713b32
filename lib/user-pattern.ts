// Regular expressions that people write in a configuration, matched in linear time as those of Calico (Go's) are: JavaScript's
// usual engine tries all ways, and `((((a+)+)+)+)+$` would hold the program for minutes with a name of 15 characters. V8's other
// one has no back references and no look-around either, and refuses a text with them.
import { setFlagsFromString } from 'node:v8'

// allows the flag `l`
setFlagsFromString('--enable-experimental-regexp-engine')

/** Throws Error with the text and what is wrong with it. */
export function userPattern(text: string): RegExp {
  try {
    return new RegExp(text, 'l')
  } catch (error) {
    throw new Error(`${text} is no regular expression: ${(error as Error).message}`, { cause: error })
  }
}
