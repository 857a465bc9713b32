// Who may read the map: whoever opens the address that `margayctl ui` prints, once. The token is in the fragment of that address, which
// browsers send to no server and in no Referer; the page gives it back once and gets a cookie for it, which no script can read.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** The cookie of a session. */
const COOKIE = 'margay-map'
/** Octets of a token and of a cookie. */
const OCTETS = 32

export class Sessions {
  readonly token = randomBytes(OCTETS).toString('base64url')
  #isSpent = false
  #key: Buffer | undefined

  /** The value for Set-Cookie; undefined where the token is wrong or was given before. */
  open(token: string): string | undefined {
    if (this.#isSpent || !isSame(token, digest(this.token))) return undefined
    this.#isSpent = true
    const key = randomBytes(OCTETS).toString('base64url')
    this.#key = digest(key)
    return `${COOKIE}=${key}; Path=/; HttpOnly; SameSite=Strict`
  }

  /** Whether a request with this Cookie header has the session. */
  has(cookies: string | undefined): boolean {
    const key = this.#key
    if (key === undefined || cookies === undefined) return false
    return cookies.split(';').some(each => {
      const [name, value = ''] = each.trim().split('=', 2)
      return name === COOKIE && isSame(value, key)
    })
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** In the same time whatever is given. */
function isSame(text: string, wanted: Buffer): boolean {
  return timingSafeEqual(digest(text), wanted)
}
