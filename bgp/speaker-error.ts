// How the speaker refuses a call. What a peer must hear is a `ProtocolError`; errors of sockets have Node's codes.

/**
 * `closed`: the speaker, or the source of routes, is closed. `name-taken`: a peer or a source has the name. `no-peer`: no
 * peer has it. `bad-rule`: a rule of a policy names no community. `no-bfd`: a peer asks for BFD, and the speaker was given none.
 */
export type SpeakerErrorCode = 'closed' | 'name-taken' | 'no-peer' | 'bad-rule' | 'no-bfd'

export class SpeakerError extends Error {
  override readonly name = 'SpeakerError'
  readonly code: SpeakerErrorCode

  constructor(code: SpeakerErrorCode, message: string) {
    super(message)
    this.code = code
  }
}
