/*
 * Runs the plugin's own code under random requests and answers, with a kernel that gives short reads and writes, signals,
 * errors and silence. Compiled with -fsanitize=address,undefined by plugin-fuzz.ts. What was not read is poisoned, so
 * that a look beyond the end of the input is found too.
 *
 *   plugin-fuzz SECONDS SEED     prints the number of cases; a case that fails prints its seed and ends with 1
 *   plugin-fuzz 0 SEED           runs the one case of that seed
 */
#define _GNU_SOURCE
#define PLUGIN_HARNESS
#define MOST_INPUT 700
#define ROOM 1600
#define MOST_DEPTH 12
#define MOST_OUTPUT 300
#include "../../cni/plugin.c"
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { AGENT = 9, SERVED_FILE = 20, BOOT_FILE = 21, NETNS_FILE = 22, PIN_FILE = 23, INPUT_FILE = 24, OUTPUT_PIPE = 25, OUTPUT_END = 26, MOST = 1 << 20 };

static unsigned long seed, state;
static u8 input[2000], reply[4000], out[MOST], request_bytes[MOST];
static u8 served[100];
static size input_length, input_read, reply_length, reply_read, out_length, request_length, served_length, served_read, boot_read;
static const char *program;
static int calm, write_failed, answered, mounted, running, endless, killed, passed_on;
static size delegate_read, config_length;
static u8 config[MOST];
static const char *delegate_says;
static long clock_ms, calls;

#define BOOT "0f3a0000-1111-2222-3333-444455556666"

static unsigned random_below(unsigned limit)
{
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (unsigned)(state >> 20) % limit;
}

static void check(int holds, const char *promise)
{
  if (holds) return;
  printf("seed %lu: not true that %s\n", seed, promise);
  fflush(stdout);
  abort();
}

static long give(u8 *to, size most, const u8 *from, size length, size *used)
{
  size count = length - *used;
  if (count > most) count = most;
  if (count > 1 && !calm) count = 1 + random_below((unsigned)count);
  if (count == 0) return 0;
  if (to >= room && to < room + ROOM) __asan_unpoison_memory_region(to, count);
  memcpy(to, from + *used, count);
  *used += count;
  return (long)count;
}

static long trouble(void)
{
  if (calm) return 0;
  if (random_below(6) == 0) return -EINTR;
  if (random_below(6) == 0) return -EAGAIN;
  return random_below(400) != 0 ? 0 : random_below(2) == 0 ? -EIO : -ECONNRESET;
}

static Slice slice_of(const u8 *at, size length)
{
  Slice slice;
  slice.at = at;
  slice.end = at + length;
  return slice;
}

long system_call(long number, long a, long b, long c, long d, long e)
{
  long failed = trouble();
  (void)d;
  (void)e;
  check(++calls < 2000000, "the program ends");
  switch (number) {
  case SYS_read:
    check((a >= SERVED_FILE || ((u8 *)b >= room && (u8 *)b + c <= room + ROOM)) && c > 0, "it reads into its room");
    if (failed != 0) return failed;
    if (a == SERVED_FILE) return give((u8 *)b, (size)c, served, served_length, &served_read);
    if (a == BOOT_FILE) return give((u8 *)b, (size)c, (const u8 *)BOOT, sizeof BOOT - 1, &boot_read);
    if (a == OUTPUT_PIPE) {
      long got = give((u8 *)b, (size)c, (const u8 *)delegate_says, strlen(delegate_says), &delegate_read);
      passed_on |= got > 0;
      return got;
    }
    check(a == 0 || a == AGENT, "it reads from standard input and from the agent");
    if (a == 0) return give((u8 *)b, (size)c, input, input_length, &input_read);
    failed = give((u8 *)b, (size)c, reply, reply_length, &reply_read);
    answered |= failed > 0;
    return failed;
  case SYS_write: {
    size count = calm ? (size)c : 1 + random_below((unsigned)c);
    check(a == 1 || a == 2 || a == AGENT || a == INPUT_FILE, "it writes to its own descriptors");
    if (failed == 0 && !calm && random_below(200) == 0) failed = -EPIPE;
    if (failed != 0 && failed != -EINTR && failed != -EAGAIN && a != 2) write_failed |= a == 1 ? 1 : 2;
    if (failed != 0) return failed;
    if (a == INPUT_FILE) {
      memcpy(config + config_length, (void *)b, count);
      config_length += count;
    } else if (a == 1) {
      memcpy(out + out_length, (void *)b, count);
      out_length += count;
    } else if (a == AGENT) {
      memcpy(request_bytes + request_length, (void *)b, count);
      request_length += count;
    }
    return (long)count;
  }
  case SYS_ppoll: {
    Time *time = (Time *)c;
    check(b == 1, "it waits for one descriptor");
    if (time != 0 && (*(int *)a < 0 || (!calm && random_below(100) == 0))) {
      clock_ms += time->seconds * 1000 + time->nanoseconds / 1000000 + 1;
      return 0;
    }
    return failed == -EINTR ? -EINTR : 1;
  }
  case SYS_clock_gettime:
    ((Time *)b)->seconds = ++clock_ms / 1000;
    ((Time *)b)->nanoseconds = clock_ms % 1000 * 1000000;
    return 0;
  case SYS_socket: return !calm && random_below(50) == 0 ? -EMFILE : (long)random_below(3);
  case SYS_fcntl: return !calm && random_below(50) == 0 ? -EMFILE : AGENT;
  case SYS_memfd_create: config_length = 0; return !calm && random_below(9) == 0 ? -EMFILE : INPUT_FILE;
  case SYS_lseek:
    check(a == INPUT_FILE && b == 0 && c == 0, "it goes back to the begin of the configuration");
    check(parse_json(slice_of(config, config_length)).at != 0, "the configuration of the other plugin is JSON");
    return 0;
  case SYS_pipe2:
    if (!calm && random_below(9) == 0) return -EMFILE;
    ((int *)a)[0] = OUTPUT_PIPE;
    ((int *)a)[1] = OUTPUT_END;
    return 0;
  case SYS_clone:
    check(!running, "one other plugin runs at a time");
    check(!is_ipam_path(program), "the IPAM plugin executes nothing");
    if (!calm && random_below(9) == 0) return -ENOMEM;
    delegate_read = 0;
    running = 1;
    killed = 0;
    endless = random_below(9) == 0; /* also after it closed its standard output */
    return 77;
  case SYS_kill:
    check(a == 77 && running, "it kills what it started");
    killed = 1;
    return 0;
  case SYS_wait4:
    check(a == 77 && running, "it waits for what it started");
    if (failed == -EINTR) return failed;
    check(killed || !endless || c != 0, "it waits for a time");
    if (!killed && c != 0 && (endless || random_below(3) == 0)) return 0;
    running = 0;
    *(int *)b = random_below(4) == 0 ? 0x100 : random_below(9) == 0 ? 9 : 0;
    return 77;
  case SYS_close: check(a < 3 || a == AGENT || a >= SERVED_FILE, "it closes what it opened"); return 0;
  case SYS_openat: {
    if (failed == 0 && (c & (O_PATH | O_CREAT)) != 0) {
      int is_pin = strncmp((const char *)b, PIN, sizeof PIN - 1) == 0;
      check((c & O_CREAT) == 0 || is_pin, "it makes no file but a name of a namespace");
      return random_below(5) == 0 ? -ENOENT : is_pin ? PIN_FILE : NETNS_FILE;
    }
    int is_boot = *(const char *)b == '/' && strcmp((const char *)b, BOOT_ID) == 0;
    check(strlen((const char *)b) < LONGEST_PATH + sizeof SERVED, "the path has its end");
    if (failed != 0) return failed == -EINTR ? -EINTR : -ENOENT;
    served_read = boot_read = 0;
    return is_boot ? BOOT_FILE : SERVED_FILE;
  }
  case SYS_connect:
    check(c == 110, "the address has the length of sockaddr_un");
    if (failed == -EIO || failed == -ECONNRESET || (!calm && random_below(20) == 0)) return -ENOENT;
    if (failed == 0) { /* another request, to an agent that ends in the middle or answers */
      request_length = 0;
      answered = 0;
      reply_read = random_below(2) == 0 ? reply_length : 0;
    }
    return failed;
  case SYS_fstatfs:
    check(a == NETNS_FILE || a == PIN_FILE, "it asks about what it opened");
    *(long *)b = a == NETNS_FILE ? (random_below(4) == 0 ? 1 : NSFS_MAGIC) : mounted ? NSFS_MAGIC : 1;
    return 0;
  case SYS_statx:
    ((u8 *)e)[28] = 0;
    ((u8 *)e)[29] = random_below(9) == 0 ? 0xa0 : 0x81;
    *(size *)((u8 *)e + 32) = 4026531840u + random_below(3);
    return 0;
  case SYS_mkdirat: return -17;
  case SYS_mount:
  case SYS_umount2:
  case SYS_unlinkat: {
    const char *name = (const char *)(number == SYS_umount2 ? a : b), *digit = name + sizeof PIN - 1;
    check(strncmp(name, PIN, sizeof PIN - 1) == 0 && *digit != 0, "it changes names of namespaces alone");
    while (is_digit((u8)*digit)) digit++;
    check(*digit == 0, "such a name is a number");
    check(number != SYS_mount || !is_ipam_path(program), "the IPAM plugin mounts nothing");
    if (number == SYS_mount && !calm && random_below(4) == 0) return -EPERM;
    if (number == SYS_umount2 && !mounted) return -EINVAL;
    if (number != SYS_unlinkat) mounted = number == SYS_mount;
    return 0;
  }
  default: check(0, "it makes no other call"); return 0;
  }
}

/* The bytes that matter to the code under test. */
static const char *const tokens[] = {
  "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u", "\\ud83d", "\\ude00", "\\u0000", "\\n", "0", "-", "1e", ".5", "true", "null",
  " ", "\t", "\x01", "\x1f", "\x7f", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "\xe2\x84\xaa", "\r\n", "\r\n\r\n", "HTTP/1.1 200 ",
  "HTTP/1.0 500 x", "\"unpin\":[", "{\"netns\":99999999999999999999,", "\"unless\":\"", "\"exitCode\":", "\"stdout\":\"", "\"cniVersion\":", "\"agentSocket\":\"/", "\"AGENTSOCKET\":", "[[[[[[[[[[[[[", "]]]]]]]]]]]]]",
  "                                                            ", "1.1.0", "0.3.1",
};
static const char *const inputs[] = {
  "{\"cniVersion\":\"1.1.0\",\"name\":\"net\",\"agentSocket\":\"/run/x\"}",
  "{\"cniversion\" : \"0.4.0\", \"x\": [1,-2.5e+3,{\"a\":\"\\u00e9\\\"\"},null], \"AgentSocket\":\"\\/run\\u002fx\"}\n",
  "{\"cniVersion\":\"1.1.0\",\"ipam\":{\"type\":\"host-local\",\"x\":[\"usePodCidr\",\"usePodCidrIPv6\"]}}", "{\"IPAM\":{\"type\":\"a\"},\"name\":\"usePodCidr\"}",
  "{}", "", "[1]", "{\"agentSocket\":{\"a\":[]}, \"cniVersion\":7}",
};
static const char *const replies[] = {
  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n  {\"exitCode\":0,\"stdout\":\"{\\\"cniVersion\\\":\\\"1.1.0\\\"}\"}",
  "HTTP/1.0 200 OK\r\n\r\n{\"stdout\":\"\\ud83d\\ude00\\ud83d\xc3\xa9\\n\",\"exitCode\":1,\"x\":[{}]}\n",
  "HTTP/1.1 200 OK\r\n\r\n{\"exitCode\":0,\"stdout\":\"{}\",\"unpin\":[{\"netns\":4026531840,\"unless\":\"\\/proc/1/ns\\u002fnet\"},{\"netns\":7}]}",
  "HTTP/1.1 200 OK\r\n\r\n{\"exitCode\":0,\"stdout\":\"\",\"delegate\":{\"podCidr\":\"10.1.0.0/24\",\"gone\":[{\"containerID\":\"c\\u0031\",\"ifname\":\"e\"},{}]}}",
  "HTTP/1.1 413 Payload Too Large\r\n\r\n", "",
};
static char much[ROOM + 200];
static const char *const outputs[] = { much, "{\"ips\":[{\"address\":\"10.1.0.5/24\"}]}", "{\"code\":4,\"msg\":\"x\"}\n", "", "[", "\xff\"" };
static const char *const stamps[] = { BOOT " 900\n", BOOT " 1\n", BOOT " 999999999999999\n", BOOT " \n", "x 1\n", "" };
static const char *const variables[] = {
  "CNI_COMMAND=ADD", "CNI_COMMAND=DEL", "CNI_COMMAND=VERSION", "CNI_COMMAND=STATUS", "CNI_COMMAND=GC", "CNI_COMMAND=CHECK", "CNI_COMMAND=\xff\"\\",
  "CNI_CONTAINERID=c", "CNI_NETNS=/x", "CNI_NETNS=/run/netns/x", "CNI_NETNS=/var/run/netns/../y", "CNI_NETNS=/proc/1/ns/net", "CNI_NETNS=/\x01", "CNI_IFNAME=eth0", "CNI_PATH=", "CNI_PATH=/bin", "CNI_PATH=/a:b:/c/", "CNI_", "CNI_=", "=", "", "CNI_ARGS=a=b;\"\x1f", "HOME=/root",
};
static const char *const programs[] = { "/opt/cni/bin/margay", "/opt/cni/bin/margay-ipam", "margay-ipam", "margay-ipam/", "" };
#define COUNT(array) (unsigned)(sizeof array / sizeof array[0])

/* A text of the list with random changes; returns its length. */
static size mutated(u8 *to, size most, const char *const *list, unsigned count)
{
  const char *base = list[random_below(count)];
  size length = strlen(base);
  unsigned changes = random_below(3) == 0 ? 0 : random_below(6);
  memcpy(to, base, length);
  while (changes-- > 0) {
    size at = random_below((unsigned)length + 1);
    const char *token = tokens[random_below(COUNT(tokens))];
    size added = strlen(token), removed = random_below(4);
    switch (random_below(5)) {
    case 0: /* another byte */
      if (at < length) to[at] = (u8)random_below(256);
      continue;
    case 1: /* cut off */ length = at; continue;
    case 2: /* a part twice */
      removed = 0;
      added = random_below(400);
      if (added > length - at) added = length - at;
      token = (const char *)to + at;
      break;
    default: break;
    }
    if (removed > length - at) removed = length - at;
    if (length + added > most) continue;
    memmove(to + at + added, to + at + removed, length - at - removed);
    if (token != (const char *)to + at) memcpy(to + at, token, added);
    length += added - removed;
  }
  return length;
}

static void check_text(Slice s, const char *promise)
{
  while (s.at < s.end) {
    int length = utf8_length(s);
    check(length > 0 && (*s.at >= 0x20 || (*s.at == '\n' && s.at + 1 == s.end)), promise);
    s.at += length;
  }
}

static void one_case(void)
{
  char *environment[13];
  unsigned i, count = random_below(13);
  int exit_code;
  state = seed * 0x9e3779b97f4a7c15ul + 1;
  for (i = 0; i < 10; i++) random_below(2);
  calm = random_below(4) == 0;
  input_length = mutated(input, sizeof input, inputs, COUNT(inputs));
  reply_length = mutated(reply, sizeof reply, replies, COUNT(replies));
  for (i = 0; i < count; i++) {
    environment[i] = strdup(variables[random_below(COUNT(variables))]); /* a look beyond the end of a copy is found */
  }
  environment[count] = 0;
  served_length = mutated(served, sizeof served, stamps, COUNT(stamps));
  input_read = reply_read = out_length = request_length = 0;
  write_failed = answered = mounted = running = passed_on = 0;
  delegate_says = outputs[random_below(COUNT(outputs))];
  unused = room;
  calls = 0;
  clock_ms = 1000;
  __asan_poison_memory_region(room, ROOM);
  program = programs[random_below(COUNT(programs))];
  exit_code = run(program, environment);
  check(exit_code >= 0 && exit_code <= 255, "the exit code is one");
  check(!running, "it leaves no process behind");
  if (write_failed == 0 && out_length > 0 && !answered && !passed_on) {
    Slice said = parse_json(slice_of(out, out_length));
    check(out[out_length - 1] == '\n' && said.at != 0, "what it says itself is one line of JSON");
    check_text(slice_of(out, out_length), "what it says itself is UTF-8");
    check(is_string(field(said, "cniVersion")), "it has a version");
    check(exit_code == (field(said, "supportedVersions").at == 0), "the exit code tells an error");
    check(exit_code == 0 || is_string(field(said, "details")), "an error has details");
    check(memmem(out, out_length, "error 4", 7) == 0, "a signal is no error");
  }
  if (request_length > 0 && (write_failed & 2) == 0 && answered) {
    const u8 *body = body_of(slice_of(request_bytes, request_length));
    size length = 0;
    const u8 *p;
    check(body != 0, "the request has a head");
    for (p = body - 5; is_digit(*p); p--) continue;
    while (is_digit(*++p)) length = length * 10 + (*p - '0');
    check(length == request_length - (size)(body - request_bytes), "Content-Length is the length of the body");
    check(parse_json(slice_of(body, length)).at != 0, "the request is JSON");
    check_text(slice_of(body, length), "the request is UTF-8");
  }
  for (i = 0; i < count; i++) free(environment[i]);
}

int main(int argc, char **argv)
{
  long seconds = argc > 1 ? atol(argv[1]) : 3;
  unsigned long first = argc > 2 ? strtoul(argv[2], 0, 10) : 1;
  time_t end = time(0) + seconds;
  memset(much, '7', sizeof much - 1);
  seed = first;
  do {
    int i;
    for (i = 0; i < (seconds > 0 ? 256 : 1); i++, seed++) one_case();
  } while (time(0) < end);
  printf("%lu cases\n", seed - first);
  return 0;
}
