/*
 * The program that a container runtime executes: it sends the request to the agent and prints the answer. It has no state
 * and no credentials, and it needs nothing of the host but the kernel: no C library, no interpreter, no allocation. Plain
 * C11 for gcc, clang and tcc, on x86-64 and arm64 (tcc: x86-64 only, its arm64 has no assembler):
 *
 *   cc -O1 -ffreestanding -fno-pie -fno-stack-protector -static -nostdlib -s -o margay cni/plugin.c   (see compile.ts)
 *
 * It has two names: executed as margay-ipam it is the IPAM plugin of others (ipam/), which goes to the agent under another path.
 * Over the socket it speaks HTTP/1.0: the answer ends with the connection. Before the answer the agent writes a space
 * every two seconds. While an agent starts again, ADD and DEL wait for it and STATUS is fine: see `wait_for_agent`. The agent
 * may run where processes and programs of the host are not seen: a namespace that has no name below /run/netns gets one here,
 * and another plugin for addresses is executed here. Hazards: a closed descriptor 0, 1 or 2 (the socket must not get its
 * number), signals, short reads and writes, non-blocking pipes, bytes that are no UTF-8, the text of the configuration, which
 * may hold credentials, and an agent that somebody took over.
 * Over 400 lines: each hazard has a few, and so has each thing that a C library would have given.
 * test/cni/plugin-fuzz.c includes this file with PLUGIN_HARNESS, and is the kernel for it.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long size;

/* A GC of a full node lists some thousand attachments of about 120 bytes. */
#ifndef MOST_INPUT
#define MOST_INPUT (4 * 1024 * 1024)
#endif
/* Everything that is read: standard input, and after it the agent's answer. */
#ifndef ROOM
#define ROOM (16 * 1024 * 1024)
#endif
/* How deep objects and lists may lie in each other; Go's decoder, which runtimes use, has the same limit. */
#ifndef MOST_DEPTH
#define MOST_DEPTH 10000
#endif
/* The agent says every two seconds that it works on a request: after this time without a word it is stopped or stuck. */
#define SILENCE_MS 10000
/* Runtimes give up after two to four minutes; after so many signs of life, or so long, this program names the reason. */
#define MOST_SIGNS 50
#define LONGEST_MS 120000
/* For so long after an agent last served pods it may be away: it starts again. `Serving` in agent/serving.ts has the same. */
#define RESTART_MS 70000
/* How often an agent that starts again is looked for. */
#define PAUSE_MS 100
/* What another plugin may print: a result is some hundred bytes, and those after it have room for theirs. */
#ifndef MOST_OUTPUT
#define MOST_OUTPUT (1024 * 1024)
#endif
/* Longest path of another plugin, longest name and variables that one gets. */
#define LONGEST_PROGRAM 4096
#define LONGEST_TYPE 64
#define MOST_VARIABLES 4096
/* Bytes of a socket's path in sockaddr_un, without the final zero (unix(7)). */
#define LONGEST_PATH 107

/* Where namespaces have names, and the beginning of those that are given here, before the number of the namespace. */
#define NETNS_FOLDER "/run/netns"
#define PIN NETNS_FOLDER "/margay-"
#define OWN_NETNS "/proc/self/ns/net"
/* A 64-bit number in decimal digits. */
#define MOST_DIGITS 20

#define DEFAULT_SOCKET "/run/margay/agent.sock"
/* As `IPAM_PROGRAM` in keys.ts. */
#define IPAM_NAME "margay-ipam"
/* After the socket's path: where the agent says when it last served pods. agent/served-file.ts writes it. */
#define SERVED ".served"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_LENGTH 36
#define VERSIONS 7
static const char *const SUPPORTED[VERSIONS] = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" };
#define NEWEST (VERSIONS - 1)

/* The verbs with the variables that each needs and the version it came with; as `VERBS` in request.ts has them. */
typedef struct {
  const char *name;
  const char *needs[3];
  int since;
} Verb;
#define VERBS 5
static const Verb verbs[VERBS] = {
  { "ADD", { "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME" }, 0 },
  { "DEL", { "CNI_CONTAINERID", "CNI_IFNAME", 0 }, 0 },
  { "CHECK", { "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME" }, 4 },
  { "GC", { "CNI_PATH", 0, 0 }, 6 },
  { "STATUS", { 0, 0, 0 }, 6 },
};

static u8 room[ROOM];
/* What follows in the room is free. Set by `read_input`: data with a beginning would cost arm64 a page of 64 KiB. */
static u8 *unused;

/* ---- The kernel ---- */

#if defined(__x86_64__)
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_lseek = 8, SYS_rt_sigaction = 13, SYS_socket = 41, SYS_connect = 42,
       SYS_clone = 56, SYS_execve = 59, SYS_wait4 = 61, SYS_kill = 62, SYS_fcntl = 72,
       SYS_fstatfs = 138, SYS_mount = 165, SYS_umount2 = 166, SYS_clock_gettime = 228,
       SYS_exit_group = 231, SYS_openat = 257, SYS_mkdirat = 258, SYS_unlinkat = 263, SYS_ppoll = 271, SYS_dup3 = 292,
       SYS_pipe2 = 293, SYS_memfd_create = 319, SYS_statx = 332 };
enum { O_NOFOLLOW = 0400000 };
#elif defined(__aarch64__)
enum { SYS_read = 63, SYS_write = 64, SYS_close = 57, SYS_lseek = 62, SYS_rt_sigaction = 134, SYS_socket = 198,
       SYS_connect = 203, SYS_clone = 220, SYS_execve = 221, SYS_wait4 = 260, SYS_kill = 129, SYS_fcntl = 25,
       SYS_fstatfs = 44, SYS_mount = 40, SYS_umount2 = 39, SYS_clock_gettime = 113,
       SYS_exit_group = 94, SYS_openat = 56, SYS_mkdirat = 34, SYS_unlinkat = 35, SYS_ppoll = 73, SYS_dup3 = 24,
       SYS_pipe2 = 59, SYS_memfd_create = 279, SYS_statx = 291 };
enum { O_NOFOLLOW = 0100000 };
#else
#error "x86-64 and arm64 only"
#endif

enum { EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13, ENOTDIR = 20,
       EISDIR = 21, EINVAL = 22, ENFILE = 23, EMFILE = 24, ENOSPC = 28, EPIPE = 32, ELOOP = 40, EPROTOTYPE = 91,
       ECONNRESET = 104, ECONNREFUSED = 111 };
enum { POLLIN = 1, POLLOUT = 4, WNOHANG = 1, F_DUPFD_CLOEXEC = 1030, CLOCK_MONOTONIC = 1, SIGKILL = 9, SIGPIPE = 13, SIGCHLD = 17 };
enum { AT_FDCWD = -100, O_CREAT = 0100, O_NONBLOCK = 04000, O_CLOEXEC = 02000000, O_PATH = 010000000 };
enum { AT_EMPTY_PATH = 0x1000, STATX_INO = 0x100, NSFS_MAGIC = 0x6e736673 };
enum { S_IFMT = 0170000, S_IFREG = 0100000, S_IFLNK = 0120000 };
enum { MFD_CLOEXEC = 1, MS_BIND = 4096, MNT_DETACH = 2, UMOUNT_NOFOLLOW = 8 };
enum { AF_UNIX = 1, SOCK_STREAM = 1, SOCK_NONBLOCK = 04000, SOCK_CLOEXEC = 02000000 };

/* One call of the kernel; negative: the number of the error. */
long system_call(long number, long a, long b, long c, long d, long e);

#ifndef PLUGIN_HARNESS
/* In assembler outside functions: tcc has no variables in registers. */
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl system_call\n"
        "system_call:\n"
        "  mov %rdi, %rax\n"
        "  mov %rsi, %rdi\n"
        "  mov %rdx, %rsi\n"
        "  mov %rcx, %rdx\n"
        "  mov %r8, %r10\n"
        "  mov %r9, %r8\n"
        "  syscall\n"
        "  ret\n"
        ".globl _start\n"
        "_start:\n"
        "  xor %ebp, %ebp\n"
        "  mov %rsp, %rdi\n"
        "  and $-16, %rsp\n"
        "  call start\n"
        "  hlt\n");
#else
__asm__(".text\n"
        ".globl system_call\n"
        "system_call:\n"
        "  mov x8, x0\n"
        "  mov x0, x1\n"
        "  mov x1, x2\n"
        "  mov x2, x3\n"
        "  mov x3, x4\n"
        "  mov x4, x5\n"
        "  svc #0\n"
        "  ret\n"
        ".globl _start\n"
        "_start:\n"
        "  mov x29, #0\n"
        "  mov x30, #0\n"
        "  mov x0, sp\n"
        "  bl start\n"
        "  brk #1\n");
#endif

/* Compilers call these for what is written in other words. `volatile` keeps them from calling themselves. */
void *memset(void *to, int byte, size length)
{
  volatile u8 *at = to;
  while (length-- > 0) *at++ = (u8)byte;
  return to;
}

void *memcpy(void *to, const void *from, size length)
{
  volatile u8 *at = to;
  const volatile u8 *next = from;
  while (length-- > 0) *at++ = *next++;
  return to;
}

/* tcc copies a struct with it: never over itself in part. */
void *memmove(void *to, const void *from, size length) { return memcpy(to, from, length); }
#endif

typedef struct { long seconds, nanoseconds; } Time;

static long now_ms(void)
{
  Time time = { 0, 0 };
  system_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&time, 0, 0, 0);
  return time.seconds * 1000 + time.nanoseconds / 1000000;
}

/* Waits until the descriptor is ready: 1. At `deadline_ms`: 0; a negative one never comes. A negative `fd` only sleeps. */
static int wait_for(int fd, int events, long deadline_ms)
{
  for (;;) {
    struct { int fd; short events, answered; } poll;
    Time rest = { 0, 0 };
    long left = 0, ready;
    poll.fd = fd;
    poll.events = (short)events;
    poll.answered = 0;
    if (deadline_ms >= 0) {
      left = deadline_ms - now_ms();
      if (left <= 0) return 0;
      rest.seconds = left / 1000;
      rest.nanoseconds = left % 1000 * 1000000;
    }
    ready = system_call(SYS_ppoll, (long)&poll, 1, deadline_ms < 0 ? 0 : (long)&rest, 0, 8);
    if (ready > 0) return 1;
    if (ready < 0 && ready != -EINTR) return 1; /* the read or write that follows has the same error */
  }
}

/* Writes all of it. 0, or the number of the error; -1 when nothing could be written for `silence_ms` (negative: waits). */
static int write_all(int fd, const u8 *bytes, size length, long silence_ms)
{
  while (length > 0) {
    long done = system_call(SYS_write, fd, (long)bytes, (long)length, 0, 0);
    if (done > 0) {
      bytes += done;
      length -= (size)done;
    } else if (done == -EAGAIN) {
      if (!wait_for(fd, POLLOUT, silence_ms < 0 ? -1 : now_ms() + silence_ms)) return -1;
    } else if (done != -EINTR)
      return done == 0 ? EIO : (int)-done;
  }
  return 0;
}

/* ---- Text ---- */

/* Bytes from `at` up to `end`; `at` is 0 for what is absent. */
typedef struct { const u8 *at, *end; } Slice;

static Slice text(const char *string)
{
  Slice slice;
  slice.at = slice.end = (const u8 *)string;
  while (*slice.end != 0) slice.end++;
  return slice;
}

static int equal(Slice a, Slice b)
{
  if (a.end - a.at != b.end - b.at) return 0;
  while (a.at < a.end)
    if (*a.at++ != *b.at++) return 0;
  return 1;
}

static int begins(Slice slice, const char *start)
{
  for (; *start != 0; start++)
    if (slice.at == slice.end || *slice.at++ != (u8)*start) return 0;
  return 1;
}

/*
 * Length of the character at the start, 1 to 4. When it is no UTF-8 (RFC 3629): the negative number of bytes that one
 * U+FFFD stands for, as JavaScript counts them. The slice is not empty.
 */
static int utf8_length(Slice s)
{
  u8 first = *s.at, low = 0x80, high = 0xbf;
  int length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0, i;
  if (length == 0) return -1;
  if (first == 0xe0) low = 0xa0; /* too long a form */
  if (first == 0xed) high = 0x9f; /* surrogates */
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f; /* above U+10FFFF */
  for (i = 1; i < length; i++) {
    if (i == s.end - s.at || s.at[i] < low || s.at[i] > high) return -i;
    low = 0x80;
    high = 0xbf;
  }
  return length;
}

/* ---- Writing ---- */

/* What is written, a piece at a time. With a negative `fd` it is only counted. `error` is that of `write_all`,
   `code` that of an error of the specification. */
typedef struct {
  int fd, error, code;
  long silence_ms;
  size count, used;
  u8 bytes[8192];
} Writer;

static void open_writer(Writer *w, int fd, long silence_ms)
{
  w->fd = fd;
  w->error = 0;
  w->silence_ms = silence_ms;
  w->count = w->used = 0;
}

static int flush(Writer *w)
{
  if (w->error == 0 && w->fd >= 0) w->error = write_all(w->fd, w->bytes, w->used, w->silence_ms);
  w->used = 0;
  return w->error;
}

static void put_byte(Writer *w, u8 byte)
{
  w->count++;
  if (w->fd < 0) return;
  if (w->used == sizeof w->bytes) flush(w);
  w->bytes[w->used++] = byte;
}

static void put_slice(Writer *w, Slice slice)
{
  while (slice.at < slice.end) put_byte(w, *slice.at++);
}

static void put(Writer *w, const char *string) { put_slice(w, text(string)); }

static void put_number(Writer *w, size number)
{
  u8 digits[20];
  int n = 0;
  do digits[n++] = (u8)('0' + number % 10);
  while ((number /= 10) > 0);
  while (n > 0) put_byte(w, digits[--n]);
}

/* The inside of a JSON string. What is no UTF-8 becomes U+FFFD. `escaped`: the text is the inside of one already. */
static void put_inside(Writer *w, Slice s, int escaped)
{
  static const char hex[] = "0123456789abcdef";
  while (s.at < s.end) {
    int length = utf8_length(s);
    u8 byte = *s.at;
    if (length < 0)
      put(w, "\\ufffd");
    else if (length == 1 && !escaped && (byte == '"' || byte == '\\')) {
      put_byte(w, '\\');
      put_byte(w, byte);
    } else if (byte < 0x20) {
      put(w, "\\u00");
      put_byte(w, (u8)hex[byte >> 4]);
      put_byte(w, (u8)hex[byte & 15]);
    } else {
      Slice character;
      character.at = s.at;
      character.end = s.at + length;
      put_slice(w, character);
    }
    s.at += length < 0 ? -length : length;
  }
}

static void say_slice(Writer *w, Slice slice) { put_inside(w, slice, 0); }
static void say(Writer *w, const char *string) { say_slice(w, text(string)); }

/* ---- Reading JSON (RFC 8259) ---- */

static const u8 *skip_space(const u8 *p, const u8 *end)
{
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
  return p;
}

static int is_digit(u8 byte) { return byte >= '0' && byte <= '9'; }

static int hex_value(u8 byte)
{
  if (is_digit(byte)) return byte - '0';
  byte |= 0x20;
  return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* These return where the thing ends, or 0 when it is not there. */
static const u8 *skip_string(const u8 *p, const u8 *end)
{
  if (p == end || *p++ != '"') return 0;
  while (p < end && *p >= 0x20) {
    u8 byte = *p++;
    if (byte == '"') return p;
    if (byte != '\\') continue;
    if (p == end) return 0;
    byte = *p++;
    if (byte == 'u') {
      int i;
      for (i = 0; i < 4; i++)
        if (p == end || hex_value(*p++) < 0) return 0;
    } else if (byte != '"' && byte != '\\' && byte != '/' && byte != 'b' && byte != 'f' && byte != 'n' && byte != 'r' &&
               byte != 't')
      return 0;
  }
  return 0;
}

static const u8 *skip_digits(const u8 *p, const u8 *end)
{
  if (p == end || !is_digit(*p)) return 0;
  while (p < end && is_digit(*p)) p++;
  return p;
}

static const u8 *skip_number(const u8 *p, const u8 *end)
{
  if (p < end && *p == '-') p++;
  if (p < end && *p == '0')
    p++;
  else if ((p = skip_digits(p, end)) == 0)
    return 0;
  if (p < end && *p == '.' && (p = skip_digits(p + 1, end)) == 0) return 0;
  if (p < end && (*p == 'e' || *p == 'E')) {
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    p = skip_digits(p, end);
  }
  return p;
}

static const u8 *skip_scalar(const u8 *p, const u8 *end)
{
  static const char *const words[] = { "null", "true", "false" };
  Slice rest;
  int i;
  rest.at = p;
  rest.end = end;
  if (*p == '"') return skip_string(p, end);
  for (i = 0; i < 3; i++)
    if (begins(rest, words[i])) return p + (text(words[i]).end - text(words[i]).at);
  return skip_number(p, end);
}

/* A key and its colon. */
static const u8 *skip_key(const u8 *p, const u8 *end)
{
  p = skip_string(p, end);
  if (p == 0) return 0;
  p = skip_space(p, end);
  return p < end && *p == ':' ? p + 1 : 0;
}

/* One value of any kind, with the space before it. */
static const u8 *skip_value(const u8 *p, const u8 *end)
{
  static u8 closes[MOST_DEPTH]; /* what ends each object and list that is open */
  int depth = 0;
  for (;;) {
    int done = 0;
    p = skip_space(p, end);
    if (p == end) return 0;
    if (*p == '{' || *p == '[') {
      if (depth == MOST_DEPTH) return 0;
      closes[depth++] = *p == '{' ? '}' : ']';
      p = skip_space(p + 1, end);
      if (p == end) return 0;
      if (*p != closes[depth - 1]) {
        if (closes[depth - 1] == '}' && (p = skip_key(p, end)) == 0) return 0;
        continue;
      }
    } else {
      p = skip_scalar(p, end);
      if (p == 0 || depth == 0) return p;
      done = 1;
    }
    for (;; done = 1) {
      if (done) p = skip_space(p, end);
      if (p == end) return 0;
      if (*p == ',' && done) break;
      if (*p++ != closes[--depth]) return 0;
      if (depth == 0) return p;
    }
    p = skip_space(p + 1, end);
    if (closes[depth - 1] == '}' && (p = skip_key(p, end)) == 0) return 0;
  }
}

/* The one value that the whole text is, without the space around it; absent when it is no JSON. */
static Slice parse_json(Slice json)
{
  Slice value = { 0, 0 };
  const u8 *end = skip_value(json.at, json.end);
  if (end == 0 || skip_space(end, json.end) != json.end) return value;
  value.at = skip_space(json.at, json.end);
  value.end = end;
  return value;
}

static u32 hex4(const u8 *p)
{
  return (u32)(hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 | hex_value(p[3]));
}

/* Takes one character out of the inside of a string. U+FFFD for what is no UTF-8, and for half a surrogate pair. */
static u32 next_char(Slice *s)
{
  static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
  int length = utf8_length(*s), i;
  u32 c = *s->at, low;
  if (c != '\\') {
    if (length > 1) c &= 0x7fu >> length;
    for (i = 1; i < length; i++) c = c << 6 | (s->at[i] & 0x3f);
    s->at += length < 0 ? -length : length;
    return length < 0 ? 0xfffd : c;
  }
  c = s->at[1];
  s->at += 2;
  for (i = 0; names[i] != 0; i++)
    if (c == (u8)names[i]) return (u8)values[i];
  if (c != 'u') return c;
  c = hex4(s->at);
  s->at += 4;
  if (c < 0xd800 || c > 0xdfff) return c;
  if (c > 0xdbff || s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u') return 0xfffd;
  low = hex4(s->at + 2);
  if (low < 0xdc00 || low > 0xdfff) return 0xfffd;
  s->at += 6;
  return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

/* Writes a character as UTF-8, and returns its length, 1 to 4. */
static int encode_char(u8 *to, u32 c)
{
  int length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;
  for (i = length - 1; i > 0; i--, c >>= 6) to[i] = (u8)(0x80 | (c & 0x3f));
  to[0] = (u8)(length == 1 ? c : (0xf00u >> length & 0xff) | c);
  return length;
}

/* A letter without regard to case, as far as the keys that are looked up have letters; U+212A is a sign like a K. */
static u32 folded(u32 c) { return c >= 'A' && c <= 'Z' ? c + 0x20 : c == 0x212a ? 'k' : c; }

/* Whether two insides of strings are the same text, `fold`: without regard to case. */
static int same_text(Slice a, Slice b, int fold)
{
  while (a.at < a.end && b.at < b.end) {
    u32 x = next_char(&a), y = next_char(&b);
    if (x != y && !(fold && folded(x) == folded(y))) return 0;
  }
  return a.at == a.end && b.at == b.end;
}

/* The inside of a value that is a string. */
static Slice inside(Slice value)
{
  value.at++;
  value.end--;
  return value;
}

static int is_string(Slice value) { return value.at != 0 && *value.at == '"'; }

/* The value under a key that is spelled like `name`, or else without regard to case, as Go decoders look keys up. Of a key
   that is there twice the last value, of several spellings the first. Absent when there is none, or it is null. */
static Slice field(Slice value, const char *name)
{
  Slice absent = { 0, 0 }, found = absent, spelled = absent;
  const u8 *p = value.at;
  int exact = 0;
  if (p == 0 || *p != '{') return absent;
  p = skip_space(p + 1, value.end);
  while (*p == '"') {
    Slice key, member;
    int same;
    key.at = p;
    key.end = skip_string(p, value.end);
    member.at = skip_space(skip_key(p, value.end), value.end);
    member.end = skip_value(member.at, value.end);
    key = inside(key);
    same = same_text(key, text(name), 0);
    if (same || (!exact && same_text(key, text(name), 1) && (spelled.at == 0 || same_text(key, spelled, 0)))) {
      exact = same;
      spelled = key;
      found = member;
    }
    p = skip_space(member.end, value.end);
    if (*p == ',') p = skip_space(p + 1, value.end);
  }
  return found.at != 0 && equal(found, text("null")) ? absent : found;
}

/* ---- The request ---- */

/* What is known of the request so far. Absent fields of the configuration are absent slices. */
typedef struct {
  char **environment;
  /* Whether another plugin executes this one for addresses. */
  int is_ipam;
  Slice command, config, version;
  /* Index in SUPPORTED: the version that errors are told in. */
  int told;
  /* Number of the namespace that the agent is told of in the place of CNI_NETNS; 0: none. `pinned`: this run mounted it. */
  size netns;
  int pinned;
  /* The plugin that gives the addresses, and what it gave; absent: the agent gives them. */
  Slice delegate, delegated;
  char path[LONGEST_PATH + 1];
} Request;

static int version_index(Slice version)
{
  int i;
  for (i = 0; i < VERSIONS; i++)
    if (is_string(version) && same_text(inside(version), text(SUPPORTED[i]), 0)) return i;
  return -1;
}

/* The value of a variable; absent when it is not set. */
static Slice variable(char **environment, const char *name)
{
  Slice value = { 0, 0 };
  for (; *environment != 0; environment++) {
    Slice entry = text(*environment);
    if (!begins(entry, name) || entry.at[text(name).end - text(name).at] != '=') continue;
    value.at = entry.at + (text(name).end - text(name).at) + 1;
    value.end = entry.end;
    return value;
  }
  return value;
}

/* An error of the specification: `begin_error`, the message by `say`, `begin_details`, the remedy, `end_error`. */
static void begin_error(Writer *w, const Request *request, int code)
{
  open_writer(w, 1, -1);
  w->code = code;
  put(w, "{\"cniVersion\":\"");
  put(w, SUPPORTED[request->told]);
  put(w, "\",\"code\":");
  put_number(w, (size)code);
  put(w, ",\"msg\":\"");
}

static void begin_details(Writer *w) { put(w, "\",\"details\":\""); }

static const char *error_name(int error)
{
  switch (error) {
  case EPERM: return "EPERM";
  case ENOENT: return "ENOENT";
  case EIO: return "EIO";
  case EBADF: return "EBADF";
  case EAGAIN: return "EAGAIN";
  case ENOMEM: return "ENOMEM";
  case EACCES: return "EACCES";
  case ENOTDIR: return "ENOTDIR";
  case EISDIR: return "EISDIR";
  case EINVAL: return "EINVAL";
  case ENFILE: return "ENFILE";
  case EMFILE: return "EMFILE";
  case ENOSPC: return "ENOSPC";
  case EPIPE: return "EPIPE";
  case ELOOP: return "ELOOP";
  case EPROTOTYPE: return "EPROTOTYPE";
  case ECONNRESET: return "ECONNRESET";
  case ECONNREFUSED: return "ECONNREFUSED";
  default: return 0;
  }
}

static void say_error(Writer *w, int error)
{
  const char *name = error_name(error);
  if (name != 0)
    say(w, name);
  else {
    say(w, "error ");
    put_number(w, (size)error);
  }
}

/* What could not be printed is said on standard error, and the exit code is 1: the runtime must not take it for done. */
static int printed(int error, int exit_code)
{
  Writer w;
  if (error == 0) return exit_code;
  open_writer(&w, 2, -1);
  put(&w, "margay: the answer could not be written to standard output: ");
  say_error(&w, error);
  put(&w, "\n");
  flush(&w);
  return 1;
}

static int end_error(Writer *w)
{
  put(w, "; see docs/cni.md#code-");
  put_number(w, (size)w->code);
  put(w, "\"}\n");
  return printed(flush(w), 1);
}

static int fail(const Request *request, int code, const char *message, const char *details)
{
  Writer w;
  begin_error(&w, request, code);
  say(&w, message);
  begin_details(&w);
  say(&w, details);
  return end_error(&w);
}

static void put_versions(Writer *w, int escaped)
{
  int i;
  for (i = 0; i < VERSIONS; i++) {
    put(w, i == 0 ? "" : ",");
    put(w, escaped ? "\\\"" : "\"");
    put(w, SUPPORTED[i]);
    put(w, escaped ? "\\\"" : "\"");
  }
}

/* Reads all of standard input into the room. 0, or -1 when it is too large, or the number of the error. */
static int read_input(Slice *input)
{
  size used = 0;
  for (;;) {
    long got = system_call(SYS_read, 0, (long)(room + used), (long)(MOST_INPUT + 1 - used), 0, 0);
    if (got == -EINTR) continue;
    if (got == -EAGAIN) { /* a non-blocking pipe that is empty for now */
      wait_for(0, POLLIN, -1);
      continue;
    }
    if (got < 0) return (int)-got;
    used += (size)got;
    if (used > MOST_INPUT) return -1;
    if (got > 0) continue;
    input->at = room;
    input->end = unused = room + used;
    return 0;
  }
}

/* Fills in the path of the agent's socket. 0 when it is none. */
static int find_socket(Request *request, Slice *value)
{
  Slice rest;
  size used = 0;
  *value = field(request->config, "agentSocket");
  if (value->at != 0 && !is_string(*value)) return 0;
  rest = value->at == 0 ? text(DEFAULT_SOCKET) : inside(*value);
  while (rest.at < rest.end) {
    u8 bytes[4];
    u32 c = next_char(&rest);
    int length = encode_char(bytes, c), i;
    if (c == 0 || used + (size)length > LONGEST_PATH) return 0;
    for (i = 0; i < length; i++) request->path[used++] = (char)bytes[i];
  }
  request->path[used] = 0;
  return request->path[0] == '/';
}

/* Only the variables of the specification are sent; the rest of the runtime's environment may hold secrets. The last comes
   first: of a variable that is there twice the first counts, and for the agent's reader the last of two keys. */
static void put_body(Writer *w, const Request *request, Slice input)
{
  char **end = request->environment;
  int first = 1;
  put(w, "{\"env\":{");
  while (*end != 0) end++;
  while (end-- > request->environment) {
    Slice entry = text(*end), name = entry;
    if (!begins(entry, "CNI_")) continue;
    for (name.end = entry.at; name.end < entry.end && *name.end != '=';) name.end++;
    if (name.end == entry.end) continue;
    put(w, first ? "\"" : ",\"");
    say_slice(w, name);
    put(w, "\":\"");
    entry.at = name.end + 1;
    say_slice(w, entry);
    put(w, "\"");
    first = 0;
  }
  put(w, "},\"stdin\":\"");
  say_slice(w, input);
  put(w, "\"");
  if (request->netns != 0) {
    put(w, ",\"netns\":");
    put_number(w, request->netns);
  }
  if (request->delegated.at != 0) {
    put(w, ",\"delegated\":\"");
    say_slice(w, request->delegated);
    put(w, "\"");
  }
  put(w, "}");
}

/* ---- Network namespaces ---- */

/* Opens a file to look at it alone: no device and no pipe notices. Negative: the error. */
static long open_path(const char *path, int flags)
{
  long fd;
  do fd = system_call(SYS_openat, AT_FDCWD, (long)path, O_PATH | O_CLOEXEC | flags, 0, 0);
  while (fd == -EINTR);
  return fd;
}

/* The number of an open namespace, which no other one has while it is there; 0: it is no namespace. `mode` may be 0. */
static size number_of(long fd, u32 *mode)
{
  long about[32] = { 0 }; /* struct statfs begins with the type of the file system */
  size file[32] = { 0 };  /* struct statx has the mode at 28, 16 bits, and the inode's number at 32 */
  if (system_call(SYS_statx, fd, (long)"", AT_EMPTY_PATH, STATX_INO, (long)file) < 0) return 0;
  if (mode != 0) *mode = (u32)(file[3] >> 32 & 0xffff);
  if (system_call(SYS_fstatfs, fd, (long)about, 0, 0, 0) < 0 || about[0] != NSFS_MAGIC) return 0;
  return file[4];
}

/* The number of the namespace at a path; 0: there is none. */
static size number_at(const char *path, int flags)
{
  long fd = open_path(path, flags);
  size number;
  if (fd < 0) return 0;
  number = number_of(fd, 0);
  system_call(SYS_close, fd, 0, 0, 0, 0);
  return number;
}

/* Whether a path is a name below /run/netns, which an agent in a container sees too: no link from there to elsewhere. */
static int has_name(Slice path)
{
  const char *start = (const char *)path.at;
  u32 mode = 0;
  long fd;
  if (begins(path, NETNS_FOLDER "/"))
    path.at += sizeof NETNS_FOLDER;
  else if (begins(path, "/var" NETNS_FOLDER "/"))
    path.at += sizeof "/var" NETNS_FOLDER;
  else
    return 0;
  if (path.at == path.end || *path.at == '.') return 0;
  for (; path.at < path.end; path.at++)
    if (*path.at == '/') return 0;
  fd = open_path(start, O_NOFOLLOW);
  if (fd < 0) return 1; /* the agent says what is wrong */
  number_of(fd, &mode);
  system_call(SYS_close, fd, 0, 0, 0, 0);
  return (mode & S_IFMT) != S_IFLNK;
}

/* Writes `start` and the digits of a number, with an end. */
static void path_of(char *to, const char *start, size number)
{
  char digits[MOST_DIGITS];
  int n = 0;
  while (*start != 0) *to++ = *start++;
  do digits[n++] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  while (n > 0) *to++ = digits[--n];
  *to = 0;
}

/* Whether a namespace is mounted under the name that its number gives. */
static int is_pinned(size number)
{
  char name[sizeof PIN + MOST_DIGITS];
  path_of(name, PIN, number);
  return number_at(name, O_NOFOLLOW) == number;
}

/* Mounts an open namespace under the name that its number gives. 1; 0: it was there; negative: the error. */
static long pin(long fd, size number)
{
  char name[sizeof PIN + MOST_DIGITS], from[sizeof "/proc/self/fd/" + MOST_DIGITS];
  long file;
  path_of(name, PIN, number);
  if (is_pinned(number)) return 0;
  system_call(SYS_mkdirat, AT_FDCWD, (long)NETNS_FOLDER, 0755, 0, 0); /* what is wrong with it the next call says */
  do file = system_call(SYS_openat, AT_FDCWD, (long)name, O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600, 0);
  while (file == -EINTR);
  if (file < 0) return file;
  system_call(SYS_close, file, 0, 0, 0, 0);
  path_of(from, "/proc/self/fd/", (size)fd);
  file = system_call(SYS_mount, (long)from, (long)name, (long)"none", MS_BIND, 0);
  if (file < 0) system_call(SYS_unlinkat, AT_FDCWD, (long)name, 0, 0, 0);
  return file < 0 ? file : 1;
}

/* The namespace lives on by what else has it. Two runs may have mounted it over each other; what else is mounted there stays. */
static void unpin(size number)
{
  char name[sizeof PIN + MOST_DIGITS];
  int i;
  path_of(name, PIN, number);
  for (i = 0; i < 8 && is_pinned(number); i++)
    if (system_call(SYS_umount2, (long)name, MNT_DETACH | UMOUNT_NOFOLLOW, 0, 0, 0) < 0) break;
  system_call(SYS_unlinkat, AT_FDCWD, (long)name, 0, 0, 0);
}

/* Says in `request` by which number the agent finds the namespace of ADD and CHECK, and mounts it for ADD. The host's own
   has none, whatever its path is: the agent knows it. Nor has one of CHECK that is not mounted: an agent of an earlier version
   made its interface, and knows the path. -1, or the exit code after an error was told. */
static int find_netns(Request *request)
{
  int is_add = equal(request->command, text("ADD"));
  Slice path = variable(request->environment, "CNI_NETNS");
  long fd, error = 0;
  Writer w;
  if (!is_add && !equal(request->command, text("CHECK"))) return -1;
  if (path.at == path.end || *path.at != '/' || has_name(path)) return -1;
  fd = open_path((const char *)path.at, 0);
  if (fd >= 0) {
    request->netns = number_of(fd, 0);
    if (request->netns == number_at(OWN_NETNS, 0)) request->netns = 0;
    else if (is_add && request->netns != 0) error = pin(fd, request->netns);
    else if (request->netns == 0) error = -EINVAL;
    else if (!is_add && !is_pinned(request->netns)) request->netns = 0;
    system_call(SYS_close, fd, 0, 0, 0, 0);
    request->pinned = error == 1;
    if (error >= 0) return -1;
  }
  begin_error(&w, request, 8);
  say(&w, fd < 0 ? "there is no network namespace " : request->netns == 0 ? "no network namespace is at " : "cannot mount below " NETNS_FOLDER " ");
  say_slice(&w, path);
  say(&w, ": ");
  say_error(&w, (int)-(fd < 0 ? fd : error));
  begin_details(&w);
  say(&w, "CNI_NETNS must be the path of a network namespace: of a process that runs, or where one is mounted. What has no name "
          "below " NETNS_FOLDER " is mounted there for the agent, which the runtime must have the rights for");
  return end_error(&w);
}

/* ---- The agent ---- */

/* The agent's answer, or why there is none: words, with an error's number or a line of the agent after them. `gone`: no
   agent is there any more, or not yet. */
typedef struct {
  int sent, gone, exit_code, error;
  const char *why;
  Slice output, line, unpin, delegate;
  u8 *end; /* of all of it */
} Answer;

static const Answer no_answer = { 0, 0, 0, 0, "", { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, 0 };

static int failed(Answer *answer, const char *why, int error)
{
  answer->why = why;
  answer->error = error;
  return -1;
}

/* A descriptor that is connected to the agent, above those of standard input, output and error. */
static int connect_agent(const Request *request, Answer *answer)
{
  struct { unsigned short family; char path[LONGEST_PATH + 1]; } address;
  long deadline = now_ms() + SILENCE_MS, fd, error;
  size i;
  address.family = AF_UNIX;
  for (i = 0; i <= LONGEST_PATH; i++) address.path[i] = 0;
  for (i = 0; request->path[i] != 0; i++) address.path[i] = request->path[i];
  fd = system_call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, 0, 0);
  if (fd >= 0 && fd < 3) {
    long above = system_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3, 0, 0);
    system_call(SYS_close, fd, 0, 0, 0, 0);
    fd = above;
  }
  if (fd < 0) return failed(answer, "socket ", (int)-fd);
  for (;;) {
    error = system_call(SYS_connect, fd, (long)&address, sizeof address, 0, 0);
    if (error >= 0) return (int)fd;
    if (error == -EINTR) continue;
    if (error != -EAGAIN) {
      answer->gone = error == -ENOENT || error == -ECONNREFUSED;
      return failed(answer, "connect ", (int)-error);
    }
    /* others wait for the agent to accept them, and nothing tells when that is over */
    if (now_ms() >= deadline) return failed(answer, "no connection within 10 s", 0);
    wait_for(-1, 0, now_ms() + 10);
  }
}

/* Looks for the end of the head; 0 when it is not there. */
static const u8 *body_of(Slice text_of_answer)
{
  for (; text_of_answer.end - text_of_answer.at >= 4; text_of_answer.at++)
    if (begins(text_of_answer, "\r\n\r\n")) return text_of_answer.at + 4;
  return 0;
}

/* Reads until the agent ends the connection. */
static int read_answer(int fd, u8 *at, Answer *answer, Slice *all)
{
  long end_ms = now_ms() + LONGEST_MS, silent_ms = now_ms() + SILENCE_MS;
  const u8 *body = 0;
  all->at = all->end = at;
  for (;;) {
    size left = (size)(room + ROOM - all->end);
    long got = left == 0 ? 0 : system_call(SYS_read, fd, (long)all->end, (long)left, 0, 0);
    if (left == 0) return failed(answer, "its answer is too long", 0);
    if (got == 0) return 0;
    if (got == -EINTR) continue;
    if (got == -EAGAIN) {
      if (now_ms() >= end_ms) return failed(answer, "it works on the request without end", 0);
      if (!wait_for(fd, POLLIN, silent_ms)) return failed(answer, "not a word within 10 s", 0);
      continue;
    }
    if (got == -ECONNRESET && all->end > at) return 0; /* it ended without reading the whole request */
    if (got < 0) return failed(answer, "read ", (int)-got);
    silent_ms = now_ms() + SILENCE_MS;
    if (body == 0) { /* the end of the head may have come in two pieces */
      Slice unseen;
      unseen.at = all->end - at < 3 ? at : all->end - 3;
      unseen.end = all->end + got;
      body = body_of(unseen);
    }
    all->end += got;
    if (body != 0 && all->end - body >= MOST_SIGNS && skip_space(body, all->end) == all->end)
      return failed(answer, "it works on the request without end", 0);
  }
}

/* The inside of a JSON string as it is meant, written over it: no character is longer than what stands for it. Bytes that
   are no UTF-8 stay what they are. */
static Slice unescape(Slice s)
{
  Slice done;
  u8 *to = room + (s.at - room);
  done.at = to;
  while (s.at < s.end) {
    int length = utf8_length(s);
    if (*s.at == '\\')
      to += encode_char(to, next_char(&s));
    else
      for (length = length < 0 ? -length : length; length > 0; length--) *to++ = *s.at++;
  }
  done.end = to;
  return done;
}

/* Reads the answer: a head with status 200, then {"exitCode": n, "stdout": "text"}. */
static int parse_answer(Slice all, Answer *answer)
{
  Slice json, code, output;
  const u8 *p;
  json.at = body_of(all);
  json.end = all.end;
  if (json.at == 0) return failed(answer, "it closed the connection", 0);
  if (!begins(all, "HTTP/1.0 200 ") && !begins(all, "HTTP/1.1 200 ")) {
    answer->line.at = answer->line.end = all.at;
    while (*answer->line.end != '\r') answer->line.end++;
    return failed(answer, "", 0);
  }
  json = parse_json(json);
  answer->gone = json.at == 0; /* it ended in the middle of its work */
  if (json.at == 0) return failed(answer, "its answer was cut off", 0);
  code = field(json, "exitCode");
  output = field(json, "stdout");
  if (code.at == 0 || !is_string(output) || code.end - code.at > 3) return failed(answer, "it said no answer", 0);
  for (p = code.at; p < code.end; p++) {
    if (!is_digit(*p)) return failed(answer, "it said no answer", 0);
    answer->exit_code = answer->exit_code * 10 + (*p - '0');
  }
  if (answer->exit_code > 255) return failed(answer, "it said no answer", 0);
  answer->unpin = field(json, "unpin");
  answer->delegate = field(json, "delegate");
  answer->end = room + (all.end - room);
  answer->output = unescape(inside(output));
  return 0;
}

/* Sends the request and reads the answer. 0, or -1: there is none, and `answer` says why. */
static int ask(const Request *request, Slice input, Answer *answer)
{
  Writer w;
  Slice all;
  size length;
  int fd = connect_agent(request, answer), error, unread;
  if (fd < 0) return -1;
  answer->sent = 1;
  open_writer(&w, -1, 0);
  put_body(&w, request, input);
  length = w.count;
  open_writer(&w, fd, SILENCE_MS);
  put(&w, request->is_ipam ? "POST /ipam" : "POST /cni");
  put(&w, " HTTP/1.0\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: ");
  put_number(&w, length);
  put(&w, "\r\n\r\n");
  put_body(&w, request, input);
  error = flush(&w);
  if (error < 0) return failed(answer, "not a word within 10 s", 0);
  /* an agent that ended the connection early may have said why */
  unread = read_answer(fd, unused, answer, &all);
  system_call(SYS_close, fd, 0, 0, 0, 0);
  answer->gone = unread < 0 ? answer->error == ECONNRESET : body_of(all) == 0;
  if (error > 0 && body_of(all) == 0) return failed(answer, "write ", error);
  return unread < 0 ? -1 : parse_answer(all, answer);
}

/*
 * Says what is wrong with a request whatever the node is like, so that a runtime is not told to try again without end. Only
 * asked when the agent does not answer: else the agent checks all of it. -1 when nothing is wrong.
 */
static int report_fault(const Request *request)
{
  const Verb *verb = 0;
  int i, missing = 0, version = 0;
  Writer w;
  for (i = 0; i < VERBS; i++)
    if (equal(request->command, text(verbs[i].name))) verb = &verbs[i];
  if (verb == 0) {
    begin_error(&w, request, 4);
    say(&w, "unknown CNI_COMMAND: ");
    say_slice(&w, request->command);
    begin_details(&w);
    say(&w, "it must be one of ADD, DEL, CHECK, GC, STATUS, VERSION");
    return end_error(&w);
  }
  for (i = 0; i < 3 && verb->needs[i] != 0; i++) {
    Slice value = variable(request->environment, verb->needs[i]);
    if (value.at != value.end) continue;
    if (missing++ == 0) {
      begin_error(&w, request, 4);
      say(&w, "required env variables [");
    } else
      say(&w, ",");
    say(&w, verb->needs[i]);
  }
  if (missing > 0) {
    say(&w, "] missing");
    begin_details(&w);
    say(&w, "the runtime must set them for ");
    say(&w, verb->name);
    return end_error(&w);
  }
  if (request->version.at != 0 && !is_string(request->version)) {
    begin_error(&w, request, 2);
    say(&w, "invalid value of cniVersion: ");
    say_slice(&w, request->version);
    begin_details(&w);
    say(&w, "cniVersion must be a text");
    return end_error(&w);
  }
  if (request->version.at != 0 && request->version.end - request->version.at > 2) version = version_index(request->version);
  if (version < 0) {
    begin_error(&w, request, 1);
    say(&w, "incompatible CNI versions");
    begin_details(&w);
    say(&w, "config is \"");
    put_inside(&w, inside(request->version), 1);
    say(&w, "\", plugin supports [");
    put_versions(&w, 1);
    say(&w, "]");
    return end_error(&w);
  }
  if (version < verb->since) {
    begin_error(&w, request, 1);
    say(&w, "config version does not allow ");
    say(&w, verb->name);
    begin_details(&w);
    say(&w, "the configuration has cniVersion \"");
    say(&w, SUPPORTED[version]);
    say(&w, "\": ");
    say(&w, verb->name);
    say(&w, " exists since ");
    say(&w, SUPPORTED[verb->since]);
    return end_error(&w);
  }
  return -1;
}

/* Reads a small file. The number of bytes; 0 for whatever is wrong. */
static size read_file(const char *path, u8 *to, size most)
{
  size used = 0;
  long fd, got;
  do fd = system_call(SYS_openat, AT_FDCWD, (long)path, O_NONBLOCK | O_CLOEXEC, 0, 0);
  while (fd == -EINTR);
  if (fd < 0) return 0;
  while (used < most) {
    got = system_call(SYS_read, fd, (long)(to + used), (long)(most - used), 0, 0);
    if (got == -EINTR) continue;
    if (got <= 0) break;
    used += (size)got;
  }
  system_call(SYS_close, fd, 0, 0, 0, 0);
  return used;
}

/* For how many milliseconds more an agent may be away because it starts again; 0: it does not. It says when it last served
   pods: the boot's id, a space, milliseconds of the monotonic clock, a newline. */
static long restart_left_ms(const Request *request)
{
  char path[LONGEST_PATH + sizeof SERVED];
  u8 served[64], boot[BOOT_ID_LENGTH];
  long ms = 0, ago;
  size length = 0, i;
  for (; request->path[length] != 0; length++) path[length] = request->path[length];
  for (i = 0; i < sizeof SERVED; i++) path[length + i] = SERVED[i];
  length = read_file(path, served, sizeof served);
  if (length < BOOT_ID_LENGTH + 3 || length > BOOT_ID_LENGTH + 17 || served[length - 1] != '\n') return 0;
  if (read_file(BOOT_ID, boot, sizeof boot) != sizeof boot || served[BOOT_ID_LENGTH] != ' ') return 0;
  for (i = 0; i < BOOT_ID_LENGTH; i++)
    if (served[i] != boot[i]) return 0;
  for (i = BOOT_ID_LENGTH + 1; i < length - 1; i++) {
    if (!is_digit(served[i])) return 0;
    ms = ms * 10 + (served[i] - '0');
  }
  ago = now_ms() - ms;
  return ago < 0 || ago >= RESTART_MS ? 0 : RESTART_MS - ago;
}

/* While an agent starts again, ADD and DEL wait for it, and what it did not answer to the end is asked again: both verbs do
   nothing twice. 0: it answered. STATUS has nothing to ask: 0, and the answer is that the node may have pods. */
static int wait_for_agent(const Request *request, Slice input, Answer *answer)
{
  long left = restart_left_ms(request), end_ms = now_ms() + left;
  if (left > 0 && equal(request->command, text("STATUS"))) {
    answer->exit_code = 0;
    answer->output.at = answer->output.end = input.end;
    return 0;
  }
  if (!equal(request->command, text("ADD")) && !equal(request->command, text("DEL"))) return -1;
  while (answer->gone && now_ms() < end_ms) {
    int sent = answer->sent;
    wait_for(-1, 0, now_ms() + PAUSE_MS);
    *answer = no_answer;
    answer->sent = sent;
    if (ask(request, input, answer) == 0) return 0;
  }
  return -1;
}

/* The number that digits are; 0 for what is none. */
static size parse_number(Slice digits)
{
  size number = 0;
  if (digits.at == 0 || digits.end - digits.at > 18) return 0;
  for (; digits.at < digits.end; digits.at++) {
    if (!is_digit(*digits.at)) return 0;
    number = number * 10 + (size)(*digits.at - '0');
  }
  return number;
}

/* Takes away the names that nobody needs, as [{"netns": number, "unless": "path"}] of the agent says: where the namespace is at
   that path still, its container runs. The agent says numbers alone: nothing else is ever unmounted. */
static void unpin_all(Slice list)
{
  const u8 *p = list.at;
  if (p == 0 || *p != '[') return;
  p = skip_space(p + 1, list.end);
  while (*p != ']') {
    Slice item, unless;
    size number;
    item.at = p;
    item.end = skip_value(p, list.end);
    p = skip_space(item.end, list.end);
    if (*p == ',') p = skip_space(p + 1, list.end);
    number = parse_number(field(item, "netns"));
    unless = field(item, "unless");
    if (number == 0) continue;
    if (is_string(unless)) {
      unless = unescape(inside(unless));
      room[unless.end - room] = 0;
      if (number_at((const char *)unless.at, 0) == number) continue;
    }
    unpin(number);
  }
}

/* Code 11 for DEL too: the runtime must call it again, or what ADD made stays for good. */
static int report_away(const Request *request, const Answer *answer)
{
  Writer w;
  begin_error(&w, request, equal(request->command, text("STATUS")) ? 50 : 11);
  say(&w, "the Margay agent does not answer on ");
  say(&w, request->path);
  say(&w, ": ");
  say(&w, answer->why);
  say_slice(&w, answer->line);
  if (answer->error != 0) say_error(&w, answer->error);
  begin_details(&w);
  say(&w, answer->sent
            ? "the agent may have carried out the request in part or in full: the runtime must call it again, or DEL, which "
              "removes whatever is there"
            : "is margay-node running on this node? Nothing was changed; the runtime tries again by itself");
  return end_error(&w);
}

/* Prints the answer with a newline, which takes the place of the quote that ended it. */
static int print_answer(const Answer *answer)
{
  u8 *end = room + (answer->output.end - room);
  if (answer->output.at == answer->output.end) return answer->exit_code;
  *end++ = '\n';
  return printed(write_all(1, answer->output.at, (size)(end - answer->output.at), -1), answer->exit_code);
}

/* ---- Another plugin for addresses ---- */

/* Takes the plugin that `ipam.type` names, as `delegateIfAny` in delegate.ts has it: the name of a file. */
static void find_delegate(Request *request)
{
  static u8 bytes[LONGEST_TYPE];
  Slice type = field(field(request->config, "ipam"), "type"), name;
  name.at = name.end = bytes;
  if (!is_string(type)) return;
  for (type = inside(type); type.at < type.end;) {
    u32 c = next_char(&type), letter = c | 0x20;
    int is_first = name.end == name.at, is_inner = c == '.' || c == '_' || c == '-';
    if ((c < '0' || c > '9') && (letter < 'a' || letter > 'z') && (is_first || !is_inner)) return;
    if (name.end - name.at == LONGEST_TYPE) return;
    bytes[name.end++ - name.at] = (u8)c;
  }
  if (name.at == name.end || equal(name, text("margay")) || equal(name, text(IPAM_NAME)) || equal(name, text("calico-ipam")) || equal(name, text("dhcp"))) return;
  request->delegate = name;
}

/* Looks for the program in the folders of CNI_PATH. 0: it is in none. */
static int find_program(const Request *request, char *path)
{
  Slice rest = variable(request->environment, "CNI_PATH");
  while (rest.at != 0 && rest.at < rest.end) {
    size length = 0, i;
    u32 mode = 0;
    long fd;
    Slice type = request->delegate;
    for (; rest.at < rest.end && *rest.at != ':'; rest.at++)
      if (length < LONGEST_PROGRAM - LONGEST_TYPE - 2) path[length++] = (char)*rest.at;
    if (rest.at < rest.end) rest.at++;
    if (length == 0 || path[0] != '/' || length == LONGEST_PROGRAM - LONGEST_TYPE - 2) continue;
    path[length++] = '/';
    for (i = 0; type.at + i < type.end; i++) path[length + i] = (char)type.at[i];
    path[length + i] = 0;
    fd = open_path(path, 0);
    if (fd < 0) continue;
    number_of(fd, &mode);
    system_call(SYS_close, fd, 0, 0, 0, 0);
    if ((mode & S_IFMT) == S_IFREG) return 1;
  }
  return 0;
}

/* A CIDR of the agent's answer; absent where it is none. */
static Slice cidr_of(Slice work, const char *name)
{
  Slice absent = { 0, 0 }, value = field(work, name), rest;
  if (!is_string(value)) return absent;
  value = inside(value);
  for (rest = value; rest.at < rest.end; rest.at++)
    if (hex_value(*rest.at) < 0 && *rest.at != '.' && *rest.at != ':' && *rest.at != '/') return absent;
  return value;
}

/* The configuration for the other plugin: the runtime's, with the ranges of the node in their places. */
static void put_config(Writer *w, Slice input, Slice work)
{
  Slice cidrs[2], names[2];
  int i;
  cidrs[0] = cidr_of(work, "podCidr");
  cidrs[1] = cidr_of(work, "podCidrIPv6");
  names[0] = text("\"usePodCidr\"");
  names[1] = text("\"usePodCidrIPv6\"");
  while (input.at < input.end) {
    const u8 *end = skip_string(input.at, input.end);
    Slice token = input;
    token.end = end != 0 ? end : input.at + 1;
    for (i = 0; i < 2; i++)
      if (cidrs[i].at != 0 && equal(token, names[i])) {
        put_byte(w, '"');
        put_slice(w, cidrs[i]);
        put_byte(w, '"');
        break;
      }
    if (i == 2) put_slice(w, token);
    input.at = token.end;
  }
}

/* A descriptor above those of standard input, output and error in the place of another one. */
static long above(long fd)
{
  long moved = fd;
  if (fd >= 0 && fd < 3) {
    moved = system_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3, 0, 0);
    system_call(SYS_close, fd, 0, 0, 0, 0);
  }
  return moved;
}

/* The variables of the runtime with the verb, and the container and interface of `item` where it has some. 0: too many. */
static int make_environment(const Request *request, const char *verb, Slice item, char **to)
{
  static char own[3][300];
  static const char *const names[3] = { "CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME" };
  Slice values[3];
  char **from = request->environment;
  int count = 0, i;
  values[0] = text(verb);
  values[1] = field(item, "containerID");
  values[2] = field(item, "ifname");
  for (i = 1; i < 3; i++)
    if (is_string(values[i])) values[i] = unescape(inside(values[i]));
  for (; *from != 0; from++) {
    int is_own = 0;
    for (i = 0; i < 3; i++) {
      Slice entry = text(*from);
      size length = (size)(text(names[i]).end - text(names[i]).at);
      if (values[i].at != 0 && begins(entry, names[i]) && entry.at[length] == '=') is_own = 1;
    }
    if (is_own) continue;
    if (count == MOST_VARIABLES) return 0;
    to[count++] = *from;
  }
  for (i = 0; i < 3; i++) {
    Slice name = text(names[i]);
    size used = 0;
    if (values[i].at == 0) continue;
    if (values[i].end - values[i].at > 256) return 0;
    while (name.at < name.end) own[i][used++] = (char)*name.at++;
    own[i][used++] = '=';
    while (values[i].at < values[i].end) own[i][used++] = (char)*values[i].at++;
    own[i][used] = 0;
    to[count++] = own[i];
  }
  to[count] = 0;
  return 1;
}

/* Why another plugin has no exit code, in the place of one. */
enum { NOT_FOUND = -1, NOT_STARTED = -2, LATE = -3, TOO_MUCH = -4, KILLED = -5 };

static void begin_delegate_error(Writer *w, const Request *request, int code)
{
  begin_error(w, request, code);
  say(w, "the plugin ");
  say_slice(w, request->delegate);
  say(w, " of ipam.type ");
}

/* In the new process, and never returns. What it cannot do it says as the other plugin would. */
static void become(const Request *request, char *path, char **environment, long in, long out)
{
  unsigned long usual[4] = { 0, 0, 0, 0 };
  char *arguments[2];
  Writer w;
  long error;
  arguments[0] = path;
  arguments[1] = 0;
  system_call(SYS_rt_sigaction, SIGPIPE, (long)usual, 0, 8, 0);
  system_call(SYS_dup3, in, 0, 0, 0, 0);
  system_call(SYS_dup3, out, 1, 0, 0, 0);
  error = system_call(SYS_execve, (long)path, (long)arguments, (long)environment, 0, 0);
  begin_delegate_error(&w, request, 5);
  say(&w, "cannot be executed: ");
  say_error(&w, (int)-error);
  begin_details(&w);
  say(&w, "it must be a program for this machine");
  end_error(&w);
  system_call(SYS_exit_group, 1, 0, 0, 0, 0);
}

/* Reads what a process prints into the room, and waits for its end: it may close its output long before, or leave a process
   behind that has it open. Its status as `wait4` has it; LATE or TOO_MUCH: it was killed. */
static int follow(long process, long fd, Slice *output)
{
  long deadline_ms = now_ms() + LONGEST_MS, ended = 0;
  int status = 0, is_open = 1, fault = 0;
  output->at = output->end = unused;
  while (fault == 0 && (ended == 0 || is_open)) {
    if (!is_open)
      wait_for(-1, 0, now_ms() + 1);
    else if (wait_for((int)fd, POLLIN, now_ms() + (ended == 0 ? PAUSE_MS : 1))) {
      size printed_bytes = (size)(output->end - output->at), left = (size)(room + ROOM - output->end);
      long got;
      if (left > MOST_OUTPUT - printed_bytes) left = MOST_OUTPUT - printed_bytes;
      got = left == 0 ? 0 : system_call(SYS_read, fd, (long)output->end, (long)left, 0, 0);
      if (got > 0)
        output->end += got;
      else if (left == 0)
        fault = TOO_MUCH;
      else if (got != -EINTR && got != -EAGAIN)
        is_open = 0;
    } else if (ended != 0)
      is_open = 0; /* all is read that it printed */
    if (ended == 0) {
      ended = system_call(SYS_wait4, process, (long)&status, WNOHANG, 0, 0);
      if (ended == -EINTR) ended = 0;
    }
    if (fault == 0 && now_ms() >= deadline_ms && (ended == 0 || is_open)) fault = LATE;
  }
  if (ended == 0) {
    system_call(SYS_kill, process, SIGKILL, 0, 0, 0);
    while (system_call(SYS_wait4, process, (long)&status, 0, 0, 0) == -EINTR) continue;
  }
  return fault != 0 ? fault : ended < 0 ? SIGKILL : status;
}

/* Executes the other plugin, for the container of `item` or that of the runtime, and waits for it. Its exit code and what it
   printed, which lies where the room is unused; or NOT_FOUND to KILLED. Its standard error is ours. */
static int execute(const Request *request, Slice input, Slice work, const char *verb, Slice item, Slice *output)
{
  static char path[LONGEST_PROGRAM];
  static char *environment[MOST_VARIABLES + 4];
  int ends[2] = { -1, -1 }, status, error;
  long in, out, from, process;
  Writer w;
  output->at = output->end = unused;
  if (!find_program(request, path)) return NOT_FOUND;
  if (!make_environment(request, verb, item, environment)) return NOT_STARTED;
  /* a file, and no pipe: nobody has to write while it is read */
  in = above(system_call(SYS_memfd_create, (long)"margay", MFD_CLOEXEC, 0, 0, 0));
  if (in < 0) return NOT_STARTED;
  open_writer(&w, (int)in, -1);
  put_config(&w, input, work);
  error = flush(&w) != 0 || system_call(SYS_lseek, in, 0, 0, 0, 0) < 0 ||
          system_call(SYS_pipe2, (long)ends, O_CLOEXEC, 0, 0, 0) < 0;
  from = error ? -1 : above(ends[0]);
  out = error ? -1 : above(ends[1]);
  process = from < 0 || out < 0 ? -1 : system_call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (process == 0) become(request, path, environment, in, out);
  if (out >= 0) system_call(SYS_close, out, 0, 0, 0, 0);
  system_call(SYS_close, in, 0, 0, 0, 0);
  status = process < 0 ? NOT_STARTED : follow(process, from, output);
  if (from >= 0) system_call(SYS_close, from, 0, 0, 0, 0);
  return status < 0 ? status : (status & 0x7f) != 0 ? KILLED : status >> 8 & 0xff;
}

/* Tells the runtime why the other plugin failed: in its own words, where it has some. */
static int report_delegate(const Request *request, int code, Slice output)
{
  Writer w;
  Slice said = parse_json(output), number = field(said, "code");
  if (code > 0 && number.at != 0 && is_digit(*number.at) && is_string(field(said, "msg")))
    return printed(write_all(1, output.at, (size)(output.end - output.at), -1), code);
  begin_delegate_error(&w, request, code == NOT_FOUND ? 2 : code == NOT_STARTED ? 11 : 5);
  say(&w, code == NOT_FOUND     ? "is in no folder of CNI_PATH"
          : code == NOT_STARTED ? "cannot be started: no memory, no descriptor, or too many variables"
          : code == LATE        ? "did not end within 120 s"
          : code == TOO_MUCH    ? "printed too much"
          : code == KILLED      ? "was killed"
                                : "failed and said no error");
  begin_details(&w);
  say(&w, code == NOT_FOUND ? "install it there, or let ipam.type be \"margay\""
                            : "what it wrote to standard error may say more");
  return end_error(&w);
}

/* Whether it does not know the verb, or not in this version: GC and STATUS are younger than most plugins. */
static int is_unknown_verb(int code, Slice output)
{
  Slice told = field(parse_json(output), "code");
  return code > 0 && told.at != 0 && (equal(told, text("1")) || equal(told, text("4")));
}

/* ADD in two rounds: the agent said that it needs an address, and hears what the other plugin gave. Where anything fails that
   plugin is told to free it. */
static int add_delegated(Request *request, Slice input, const Answer *first)
{
  Slice work = first->delegate, none = { 0, 0 }, ignored;
  Answer answer = no_answer;
  int code = execute(request, input, work, "ADD", none, &request->delegated), is_answered = 0;
  unused = room + (request->delegated.end - room);
  if (code == 0) {
    is_answered = ask(request, input, &answer) == 0 || wait_for_agent(request, input, &answer) == 0;
    if (is_answered) {
      unused = answer.end;
      unpin_all(answer.unpin);
    }
    if (is_answered && answer.exit_code == 0) return print_answer(&answer);
  }
  execute(request, input, work, "DEL", none, &ignored);
  if (request->pinned && code != 0) unpin(request->netns);
  if (code != 0) return report_delegate(request, code, request->delegated);
  return is_answered ? print_answer(&answer) : report_away(request, &answer);
}

/* The agent has answered: what is left is the other plugin's part, where there is one, and to print. Names go at once: another
   namespace may have the number of one that ended, and a name, before the other plugin is done. */
static int finish(Request *request, Slice input, const Answer *answer)
{
  Slice work = answer->delegate, none = { 0, 0 }, output = none, said, gone;
  int code = 0, later, is_gc = equal(request->command, text("GC"));
  int may_be_unknown = is_gc || equal(request->command, text("STATUS"));
  unpin_all(answer->unpin);
  if (work.at == 0 || request->delegate.at == 0 || (answer->exit_code != 0 && !is_gc)) return print_answer(answer);
  unused = answer->end;
  if (equal(request->command, text("ADD"))) return add_delegated(request, input, answer);
  gone = field(work, "gone");
  if (is_gc && gone.at != 0 && *gone.at == '[') {
    const u8 *p = skip_space(gone.at + 1, gone.end);
    while (*p != ']') {
      int ended;
      Slice item;
      item.at = p;
      item.end = skip_value(p, gone.end);
      p = skip_space(item.end, gone.end);
      if (*p == ',') p = skip_space(p + 1, gone.end);
      ended = execute(request, input, work, "DEL", item, &said);
      if (ended == 0 || code != 0) continue;
      code = ended; /* the first one is told, and the others are tried all the same */
      output = said;
      unused = room + (said.end - room);
    }
  }
  if (answer->exit_code != 0) return print_answer(answer); /* GC comes again, and not for what it deleted */
  later = execute(request, input, work, (const char *)request->command.at, none, &said);
  if (code == 0 && !(may_be_unknown && is_unknown_verb(later, said))) {
    code = later;
    output = said;
  }
  return code == 0 ? 0 : report_delegate(request, code, output);
}

/* ---- The program ---- */

static int print_purpose(void)
{
  Writer w;
  int i;
  open_writer(&w, 2, -1);
  put(&w, "Margay: a routed network for containers\nCNI protocol versions supported: ");
  for (i = 0; i < VERSIONS; i++) {
    put(&w, i == 0 ? "" : ", ");
    put(&w, SUPPORTED[i]);
  }
  put(&w, "\n");
  flush(&w);
  return 0;
}

/* VERSION answers even when standard input is not JSON. */
static int print_version(Slice input)
{
  Writer w;
  Slice asked = field(parse_json(input), "cniVersion");
  open_writer(&w, 1, -1);
  put(&w, "{\"cniVersion\":\"");
  if (is_string(asked) && asked.end - asked.at > 2)
    put_inside(&w, inside(asked), 1);
  else
    put(&w, SUPPORTED[NEWEST]);
  put(&w, "\",\"supportedVersions\":[");
  put_versions(&w, 0);
  put(&w, "]}\n");
  return printed(flush(&w), 0);
}

/* Whether a path ends with the name of the IPAM plugin. */
static int is_ipam_path(const char *path)
{
  Slice rest = text(path), name = rest;
  for (; rest.at < rest.end; rest.at++)
    if (*rest.at == '/') name.at = rest.at + 1;
  return equal(name, text(IPAM_NAME));
}

/* The whole program, executed as `path`; returns its exit code. */
static int run(const char *path, char **environment)
{
  Request request = { 0, 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, NEWEST, 0, 0, { 0, 0 }, { 0, 0 }, { 0 } };
  Answer answer = no_answer;
  Slice input, socket;
  Writer w;
  int error;
  request.environment = environment;
  request.is_ipam = is_ipam_path(path);
  request.command = variable(environment, "CNI_COMMAND");
  if (request.command.at == 0) return print_purpose();
  error = read_input(&input);
  if (error < 0)
    return fail(&request, 6, "standard input has more than 4194304 bytes", "a network configuration is never that large");
  if (error > 0) {
    begin_error(&w, &request, 5);
    say(&w, "reading standard input failed: ");
    say_error(&w, error);
    begin_details(&w);
    say(&w, "the runtime must hand over a readable file or pipe");
    return end_error(&w);
  }
  if (equal(request.command, text("VERSION"))) return print_version(input);
  request.config = parse_json(input);
  if (request.config.at == 0 || *request.config.at != '{') /* the text is not quoted: there may be credentials in it */
    return fail(&request, 6,
                skip_space(input.at, input.end) == input.end ? "error parsing config: standard input is empty"
                : request.config.at == 0                     ? "error parsing config: standard input is not JSON"
                                                             : "error parsing config: the configuration is not an object",
                "standard input must be the network configuration as JSON");
  request.version = field(request.config, "cniVersion");
  request.told = request.version.at == 0 ? 0 : version_index(request.version);
  if (request.told < 0) request.told = NEWEST;
  if (!find_socket(&request, &socket)) {
    begin_error(&w, &request, 2);
    say(&w, "invalid value of agentSocket: ");
    say_slice(&w, socket);
    begin_details(&w);
    say(&w, "agentSocket must be an absolute path of at most 107 bytes");
    return end_error(&w);
  }
  if (!request.is_ipam) { /* it enters no namespace, and gives the addresses itself */
    find_delegate(&request);
    error = find_netns(&request);
    if (error >= 0) return error;
  }
  if (ask(&request, input, &answer) == 0) return finish(&request, input, &answer);
  error = report_fault(&request);
  if (error < 0) {
    if (wait_for_agent(&request, input, &answer) == 0) return finish(&request, input, &answer);
    if (request.delegate.at != 0 && equal(request.command, text("DEL"))) {
      Slice none = { 0, 0 }, ignored;
      execute(&request, input, none, "DEL", none, &ignored);
    }
    error = report_away(&request, &answer);
  }
  if (request.pinned && !answer.sent) unpin(request.netns); /* no DEL need come for what the agent never heard of */
  return error;
}

#ifndef PLUGIN_HARNESS
/* `stack` is what the kernel left there: the number of arguments, they, a zero, the environment, a zero. */
void start(long *stack)
{
  /* as struct sigaction of the kernel: handler (1: ignore), flags, restorer, mask */
  unsigned long ignore[4] = { 1, 0, 0, 0 };
  unsigned long usual[4] = { 0, 0, 0, 0 };
  system_call(SYS_rt_sigaction, SIGPIPE, (long)ignore, 0, 8, 0);
  /* a runtime that ignores it has the kernel forget the exit codes of other plugins */
  system_call(SYS_rt_sigaction, SIGCHLD, (long)usual, 0, 8, 0);
  system_call(SYS_exit_group, run(*stack > 0 ? (char *)stack[1] : "", (char **)(stack + 1 + *stack + 1)), 0, 0, 0, 0);
}
#endif
