// ROUTE-REFRESH (RFC 2918, RFC 7313): afi u16 | subtype u8 | safi u8. Octets after those (an outbound route filter,
// RFC 5291) were never agreed on and are ignored on a plain request.
import type { Writer } from '../../lib/bytes.ts'
import { ProtocolError } from './errors.ts'
import { ERROR, MESSAGE, REFRESH, ROUTE_REFRESH_ERROR } from './iana.ts'
import { emitMessage, HEADER } from './message.ts'

/** `subtype` as in `REFRESH`; a receiver ignores any other (RFC 7313 §5). */
export type RouteRefresh = { afi: number; safi: number; subtype: number }

/** The refresh in `bytes[start..end)`, a body whose header lies before it (it is part of the error's data). */
export function parseRouteRefresh(bytes: Uint8Array, start: number, end: number): RouteRefresh | ProtocolError {
  const subtype = bytes[start + 2] ?? 0
  const marker = subtype === REFRESH.begin || subtype === REFRESH.end
  if (end - start < 4 || (marker && end - start !== 4))
    return new ProtocolError(
      ERROR.routeRefresh,
      ROUTE_REFRESH_ERROR.length,
      bytes.subarray(Math.max(0, start - HEADER), end),
    )
  return { afi: (bytes[start]! << 8) | bytes[start + 1]!, subtype, safi: bytes[start + 3]! }
}

/** Writes a whole ROUTE-REFRESH. */
export function emitRouteRefresh(w: Writer, { afi, safi, subtype }: RouteRefresh): void {
  emitMessage(w, MESSAGE.routeRefresh, () => w.u16(afi).u8(subtype).u8(safi))
}
