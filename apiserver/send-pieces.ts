// Long answers go out in pieces, as fast as the client reads them, and each piece is made in a turn of its own.
import type { ServerResponse } from 'node:http'
import type { Clock } from '../lib/clock.ts'
import type { Asker, Turns } from './turns.ts'

/** How many characters are joined before they are written. */
const PIECE_CHARACTERS = 64 * 1024
/** How long a client may take to read a piece. */
const SLOWEST_PIECE_MS = 30_000

/** Whose answer it is, and what gives it turns. */
export type Sender = { response: ServerResponse; asker: Asker; turns: Turns; clock: Clock }

/**
 * Writes texts one after another. Resolves with false when the client has left or was disconnected, since it read too
 * slowly. The first piece is made at once: the caller has a turn.
 */
export async function sendPieces(texts: Iterator<string>, { response, asker, turns, clock }: Sender): Promise<boolean> {
  for (let rest = writePiece(texts, response); rest; ) {
    if (response.writableNeedDrain) await drained(response, clock)
    if (response.destroyed || response.writableEnded) return false
    // inside the turn: what follows an await would run after it, with all others' pieces
    rest = await turns.run(asker, () => writePiece(texts, response))
  }
  return !response.destroyed && !response.writableEnded
}

/** Writes one piece; false when it was the last one. */
function writePiece(texts: Iterator<string>, response: ServerResponse): boolean {
  let piece = ''
  while (piece.length < PIECE_CHARACTERS) {
    const next = texts.next()
    if (next.done === true) {
      if (piece !== '') response.write(piece)
      return false
    }
    piece += next.value
  }
  response.write(piece)
  return true
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
