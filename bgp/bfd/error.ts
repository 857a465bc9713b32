/** A call that was refused: `bad-session` says what is wrong with a session, `closed` that there is no thread any more. */
export class BfdError extends Error {
  override readonly name = 'BfdError'
  readonly code: 'bad-session' | 'closed'
  constructor(code: BfdError['code'], message: string) {
    super(message)
    this.code = code
  }
}
