/** The prefixes to which nothing can be sent: the speaker leaves them and everything inside them out. */
export const NO_DESTINATION = [
  ...['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/4', '255.255.255.255/32'],
  ...['::/128', '::1/128', '::ffff:0:0/96', 'fe80::/10', 'ff00::/8'],
]
