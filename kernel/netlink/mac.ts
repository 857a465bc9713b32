// MAC addresses as text and as octets.

/** The six octets of `aa:bb:cc:dd:ee:ff`. Throws on anything else. */
export function macBytes(mac: string): Uint8Array {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(mac)) throw new Error(`not a MAC address: ${mac}`)
  return Uint8Array.from(mac.split(':'), octet => Number.parseInt(octet, 16))
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, octet => octet.toString(16).padStart(2, '0')).join(':')
}
