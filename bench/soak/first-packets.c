/*
 * The programs of a pod of the soak. The first instruction of each pod sends one datagram to each target, and none a
 * second time: what does not come back was lost by the network.
 *
 *   first-packets echo PORT                              answers every datagram with what it holds
 *   first-packets wait                                   waits for SIGTERM: process 1 of a pod's sandbox
 *   first-packets pod FILE NAME MS TARGET...             sends, adds its line to FILE, waits for SIGTERM
 *   first-packets add NODE POD PLUGIN NAME MS TARGET...  as a runtime: executes PLUGIN in the namespace at the path NODE,
 *                                                        with the environment and standard input of this program, and
 *                                                        sends in that at POD in the moment in which it has ended well
 *
 * TARGET is WORD=ADDRESS:PORT with an IPv6 address as 32 hexadecimal digits, and of IPv4 ::ffff:A.B.C.D: so the kernel
 * takes both from one kind of socket. MS is how long answers are waited for. The line has a word for each target,
 * `NAME WORD=FROM:MICROSECONDS WORD=FROM:lost WORD=FROM:errno:N`, with the address from which it was sent, 0 where there is
 * none; of `add` with `add=MICROSECONDS` before it, or `refused=MICROSECONDS` alone, and what the plugin wrote after it.
 * Every pod sends from the same ports: an entry that the kernel still has for who had the address before is met. Needs no C
 * library: it is process 1 of an image that holds nothing else.
 * Over 400 lines: four programs around one list of targets, with the entry and memory functions of cni/plugin.c once more.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long size;

enum { MOST_TARGETS = 8, ROOM = 65536, FIRST_PORT = 40000 };

#if defined(__x86_64__)
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_rt_sigprocmask = 14, SYS_socket = 41, SYS_connect = 42,
       SYS_sendto = 44, SYS_recvfrom = 45, SYS_bind = 49, SYS_getsockname = 51, SYS_clone = 56, SYS_execve = 59,
       SYS_wait4 = 61, SYS_rt_sigtimedwait = 128, SYS_clock_gettime = 228, SYS_exit_group = 231, SYS_openat = 257,
       SYS_ppoll = 271, SYS_dup3 = 292, SYS_pipe2 = 293, SYS_setns = 308 };
#elif defined(__aarch64__)
enum { SYS_read = 63, SYS_write = 64, SYS_close = 57, SYS_rt_sigprocmask = 135, SYS_socket = 198, SYS_connect = 203,
       SYS_sendto = 206, SYS_recvfrom = 207, SYS_bind = 200, SYS_getsockname = 204, SYS_clone = 220, SYS_execve = 221,
       SYS_wait4 = 260, SYS_rt_sigtimedwait = 137, SYS_clock_gettime = 113, SYS_exit_group = 94, SYS_openat = 56,
       SYS_ppoll = 73, SYS_dup3 = 24, SYS_pipe2 = 59, SYS_setns = 268 };
#else
#error "x86-64 and arm64 only"
#endif

enum { EINTR = 4, EAGAIN = 11, AT_FDCWD = -100 };
enum { O_WRONLY = 1, O_CREAT = 0100, O_APPEND = 02000, O_CLOEXEC = 02000000, CLONE_NEWNET = 0x40000000 };
enum { AF_INET6 = 10, SOCK_DGRAM = 2, SOCK_NONBLOCK = 04000, SOCK_CLOEXEC = 02000000 };
enum { POLLIN = 1, CLOCK_MONOTONIC = 1, SIGTERM = 15, SIGCHLD = 17, SIG_BLOCK = 0 };

/* One call of the kernel; negative: the number of the error. In assembler outside functions, for tcc. */
long system_call(long number, long a, long b, long c, long d, long e, long f);

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
        "  mov 8(%rsp), %r9\n"
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
        "  mov x5, x6\n"
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

typedef struct { long seconds, nanoseconds; } Time;
typedef struct { u16 family; u8 port[2]; u32 flow; u8 address[16]; u32 scope; } Address;
typedef struct { int fd; short events, happened; } Poll;

static void leave(int code)
{
  for (;;) system_call(SYS_exit_group, code, 0, 0, 0, 0, 0);
}

static long now_us(void)
{
  Time time = { 0, 0 };
  system_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&time, 0, 0, 0, 0);
  return time.seconds * 1000000 + time.nanoseconds / 1000;
}

/* ---- Text ---- */

static size length_of(const char *text)
{
  size n = 0;
  while (text[n] != 0) n++;
  return n;
}

static int equal(const char *a, const char *b)
{
  while (*a != 0 && *a == *b) a++, b++;
  return *a == *b;
}

static u8 line[ROOM];
static size used;

static void put_bytes(const void *bytes, size length)
{
  const u8 *at = bytes;
  while (length-- > 0 && used < sizeof line) line[used++] = *at++;
}

static void put(const char *text) { put_bytes(text, length_of(text)); }

static void put_address(const u8 *address)
{
  const char *digits = "0123456789abcdef";
  int i;
  for (i = 0; i < 16; i++) {
    put_bytes(digits + (address[i] >> 4), 1);
    put_bytes(digits + (address[i] & 15), 1);
  }
}

static void put_number(long number)
{
  char digits[20];
  int n = 20;
  do digits[--n] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  put_bytes(digits + n, (size)(20 - n));
}

/* Says what cannot be done, and ends. */
static void fail(const char *what, long error)
{
  used = 0;
  put("first-packets: ");
  put(what);
  put(": error ");
  put_number(error < 0 ? -error : error);
  put("\n");
  system_call(SYS_write, 2, (long)line, (long)used, 0, 0, 0);
  leave(2);
}

static long must(const char *what, long result)
{
  if (result < 0) fail(what, result);
  return result;
}

/* Reads digits; the text goes on behind them. */
static long number_at(const char **text)
{
  long number = 0;
  const char *from = *text;
  while (**text >= '0' && **text <= '9' && number < 1000000000) number = number * 10 + *(*text)++ - '0';
  if (*text == from) fail("no number", 0);
  return number;
}

/* The number of a hexadecimal digit; the text goes on behind it. */
static u8 nibble_at(const char **text)
{
  char digit = *(*text)++;
  if (digit >= '0' && digit <= '9') return (u8)(digit - '0');
  if (digit < 'a' || digit > 'f') fail("no address", 0);
  return (u8)(digit - 'a' + 10);
}

/* Any address of this machine, of either family. */
static void set_any(Address *address, long port)
{
  memset(address, 0, sizeof *address);
  address->family = AF_INET6;
  address->port[0] = (u8)(port >> 8);
  address->port[1] = (u8)port;
}

static long new_socket(long options)
{
  return must("socket", system_call(SYS_socket, AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | options, 0, 0, 0, 0));
}

/* ---- Sending ---- */

typedef struct {
  const char *word;
  size word_length;
  Address address, from;
  /* When its answer came, after which error it is given up, or neither. */
  long answered_us, error;
} Target;

static Target targets[MOST_TARGETS];
static Poll polls[MOST_TARGETS];
static u8 sent[MOST_TARGETS][256];
static size sent_length[MOST_TARGETS];

static void parse_target(Target *target, const char *text)
{
  u8 address[16];
  int i;
  target->word = text;
  while (*text != '=' && *text != 0) text++;
  target->word_length = (size)(text - target->word);
  if (*text++ != '=') fail("no target", 0);
  for (i = 0; i < 16; i++) {
    u8 high = nibble_at(&text);
    address[i] = (u8)(high << 4 | nibble_at(&text));
  }
  if (*text++ != ':') fail("no port", 0);
  set_any(&target->address, number_at(&text));
  memcpy(target->address.address, address, sizeof address);
}

/* What is sent names the pod and the target: an answer to somebody else's datagram is none. */
static void write_datagram(int i, const char *name)
{
  u8 *to = sent[i];
  const char *word = targets[i].word;
  size n = 0, k;
  while (*name != 0 && n < 128) to[n++] = (u8)*name++;
  to[n++] = ' ';
  for (k = 0; k < targets[i].word_length && n < 255; k++) to[n++] = (u8)word[k];
  sent_length[i] = n;
}

static void look(int i, long start_us)
{
  static u8 answer[2048];
  size n;
  long got = system_call(SYS_recvfrom, polls[i].fd, (long)answer, sizeof answer, 0, 0, 0);
  if (got == -EAGAIN || got == -EINTR) return;
  if (got < 0) {
    targets[i].error = -got;
    polls[i].fd = -1;
    return;
  }
  if ((size)got != sent_length[i]) return;
  for (n = 0; n < sent_length[i]; n++)
    if (answer[n] != sent[i][n]) return;
  targets[i].answered_us = now_us() - start_us;
  polls[i].fd = -1;
}

/* One datagram to each target, then the answers. Writes the line. */
static void send_all(const char *name, long limit_ms, int count, char **texts)
{
  int i, waiting;
  long start_us;
  if (count < 1 || count > MOST_TARGETS) fail("1 to 8 targets", count);
  for (i = 0; i < count; i++) {
    int length = sizeof(Address);
    long fd, error;
    parse_target(&targets[i], texts[i]);
    write_datagram(i, name);
    set_any(&targets[i].from, FIRST_PORT + i);
    fd = new_socket(SOCK_NONBLOCK);
    must("bind", system_call(SYS_bind, fd, (long)&targets[i].from, sizeof(Address), 0, 0, 0));
    error = system_call(SYS_connect, fd, (long)&targets[i].address, sizeof(Address), 0, 0, 0);
    polls[i].fd = error < 0 ? -1 : (int)fd;
    polls[i].events = POLLIN;
    targets[i].error = error < 0 ? -error : 0;
    if (error >= 0) system_call(SYS_getsockname, fd, (long)&targets[i].from, (long)&length, 0, 0, 0);
  }
  start_us = now_us();
  for (i = 0; i < count; i++) {
    long done;
    if (polls[i].fd < 0) continue;
    done = system_call(SYS_sendto, polls[i].fd, (long)sent[i], (long)sent_length[i], 0, 0, 0);
    if (done >= 0) continue;
    targets[i].error = -done;
    polls[i].fd = -1;
  }
  for (;;) {
    Time rest;
    long left_us = start_us + limit_ms * 1000 - now_us();
    for (i = 0, waiting = 0; i < count; i++) waiting += polls[i].fd >= 0;
    if (waiting == 0 || left_us <= 0) break;
    rest.seconds = left_us / 1000000;
    rest.nanoseconds = left_us % 1000000 * 1000;
    system_call(SYS_ppoll, (long)polls, count, (long)&rest, 0, 8, 0);
    for (i = 0; i < count; i++)
      if (polls[i].fd >= 0) look(i, start_us);
  }
  put(name);
  for (i = 0; i < count; i++) {
    put(" ");
    put_bytes(targets[i].word, targets[i].word_length);
    put("=");
    put_address(targets[i].from.address);
    if (targets[i].error != 0) {
      put(":errno:");
      put_number(targets[i].error);
    } else if (targets[i].answered_us == 0)
      put(":lost");
    else {
      put(":");
      put_number(targets[i].answered_us);
    }
  }
  put("\n");
}

/* ---- The programs ---- */

static void echo(const char *port)
{
  static u8 datagram[2048];
  Address address;
  long fd = new_socket(0);
  set_any(&address, number_at(&port));
  must("bind", system_call(SYS_bind, fd, (long)&address, sizeof address, 0, 0, 0));
  for (;;) {
    int length = sizeof address;
    long got = system_call(SYS_recvfrom, fd, (long)datagram, sizeof datagram, 0, (long)&address, (long)&length);
    if (got >= 0) system_call(SYS_sendto, fd, (long)datagram, got, 0, (long)&address, length);
  }
}

/* Process 1 has no default for signals: one that is blocked waits until it is asked for. */
static u32 term[2] = { 1u << (SIGTERM - 1), 0 };

static void block_term(void) { system_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)term, 0, 8, 0, 0); }

static void wait_for_term(void)
{
  while (system_call(SYS_rt_sigtimedwait, (long)term, 0, 0, 8, 0, 0) < 0) {}
}

static void pod(const char *file, const char *name, long limit_ms, int count, char **texts)
{
  long fd;
  block_term();
  send_all(name, limit_ms, count, texts);
  fd = must("open", system_call(SYS_openat, AT_FDCWD, (long)file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666, 0, 0));
  /* one write: lines of many pods stand beside each other */
  must("write", system_call(SYS_write, fd, (long)line, (long)used, 0, 0, 0));
  wait_for_term();
}

static long enter(const char *path)
{
  long fd = must(path, system_call(SYS_openat, AT_FDCWD, (long)path, O_CLOEXEC, 0, 0, 0));
  return must(path, system_call(SYS_setns, fd, CLONE_NEWNET, 0, 0, 0, 0));
}

static void add(char **words, int count, char **environment)
{
  static u8 said[ROOM];
  char *plugin = words[2], *arguments[2];
  const char *limit = words[4];
  int ends[2], status = 0;
  size length = 0;
  long limit_ms = number_at(&limit), start_us, child, got;
  arguments[0] = plugin;
  arguments[1] = 0;
  must("pipe", system_call(SYS_pipe2, (long)ends, O_CLOEXEC, 0, 0, 0, 0));
  start_us = now_us();
  child = must("clone", system_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0));
  if (child == 0) {
    enter(words[0]);
    must("dup", system_call(SYS_dup3, ends[1], 1, 0, 0, 0, 0));
    fail(plugin, system_call(SYS_execve, (long)plugin, (long)arguments, (long)environment, 0, 0, 0));
  }
  system_call(SYS_close, ends[1], 0, 0, 0, 0, 0);
  while (length < sizeof said) {
    got = system_call(SYS_read, ends[0], (long)(said + length), (long)(sizeof said - length), 0, 0, 0);
    if (got == 0) break;
    if (got > 0) length += (size)got;
  }
  while (system_call(SYS_wait4, child, (long)&status, 0, 0, 0, 0) == -EINTR) {}
  put(status == 0 ? "add=" : "refused=");
  put_number(now_us() - start_us);
  put(status == 0 ? " " : "\n");
  if (status == 0) {
    enter(words[1]);
    send_all(words[3], limit_ms, count, words + 5);
  }
  put_bytes(said, length);
  for (length = 0; length < used;) {
    got = system_call(SYS_write, 1, (long)(line + length), (long)(used - length), 0, 0, 0);
    if (got > 0) length += (size)got;
    else if (got != -EINTR) leave(2);
  }
  leave(status == 0 ? 0 : 1);
}

void start(size *stack)
{
  int count = (int)stack[0];
  char **words = (char **)(stack + 1), **environment = words + count + 1;
  if (count == 3 && equal(words[1], "echo")) echo(words[2]);
  if (count == 2 && equal(words[1], "wait")) {
    block_term();
    wait_for_term();
    leave(0);
  }
  if (count > 5 && equal(words[1], "pod")) {
    const char *limit = words[4];
    pod(words[2], words[3], number_at(&limit), count - 5, words + 5);
    leave(0);
  }
  if (count > 7 && equal(words[1], "add")) add(words + 2, count - 7, environment);
  fail("say echo, wait, pod or add", 0);
}
