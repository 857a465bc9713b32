// Long answers go out in pieces, as fast as the client reads them, and each piece is made in a turn of its own.
import type { ServerResponse } from 'node:http'
import type { Clock } from '../lib/clock.ts'
import type { Asker, Turns } from './turns.ts'

/**
 * How many characters are written at once. What a socket does not take is sent by the event loop itself, for all sockets that
 * can be written in one go, so a hundred clients with a megabyte each would hold everybody up.
 */
export const PIECE_CHARACTERS = 64 * 1024
/** How long a client may take to read a piece. */
const SLOWEST_PIECE_MS = 30_000

/** Whose answer it is, and what gives it turns. */
export type Sender = { response: ServerResponse; asker: Asker; turns: Turns; clock: Clock }

/**
 * Writes texts one after another. Resolves with false when the client has left or was disconnected, since it read too
 * slowly.
 */
export async function sendPieces(texts: Iterator<string>, { response, asker, turns, clock }: Sender): Promise<boolean> {
  const pieces = piecesOf(texts)
  for (let rest = true; rest; ) {
    if (response.writableNeedDrain) await drained(response, clock)
    if (response.destroyed || response.writableEnded) return false
    // each inside a turn, the first too: what follows an await runs after its turn, with all others' pieces
    rest = await turns.run(asker, () => writePiece(pieces, response))
  }
  return !response.destroyed && !response.writableEnded
}

type Piece = { text: string; isLast: boolean }

/** Writes one piece; false when it was the last one. */
function writePiece(pieces: Iterator<Piece>, response: ServerResponse): boolean {
  const { value, done } = pieces.next()
  if (done === true) return false
  response.write(value.text)
  return !value.isLast
}

/** The texts joined and cut into pieces of one length, but for the last. */
function* piecesOf(texts: Iterator<string>): Generator<Piece> {
  let rest = ''
  for (let next = texts.next(); next.done !== true; next = texts.next()) {
    rest += next.value
    for (; rest.length > PIECE_CHARACTERS; ) {
      const end = isHighSurrogate(rest.charCodeAt(PIECE_CHARACTERS - 1)) ? PIECE_CHARACTERS - 1 : PIECE_CHARACTERS
      yield { text: rest.slice(0, end), isLast: false }
      rest = rest.slice(end)
    }
  }
  if (rest !== '') yield { text: rest, isLast: true }
}

/** The first half of a character: alone it is none. */
function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}

/** Resolves when the client has read what was written, or has left; one that reads too slowly is disconnected. */
function drained(response: ServerResponse, clock: Clock): Promise<void> {
  if (response.destroyed) return Promise.resolve()
  return new Promise(resolve => {
    const cancel = clock.after(SLOWEST_PIECE_MS, () => void response.destroy())
    const done = (): void => {
      cancel()
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.once('drain', done)
    response.once('close', done)
  })
}
