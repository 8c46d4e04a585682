// SPDX-License-Identifier: Apache-2.0
// Preloaded into a program (LD_PRELOAD): SIGKILL at one exact moment. While the file that
// CAPSTAN_DIE_AT names exists and holds "before sync 3" (or "after", or "send"), the third time from
// then on that the program makes a file durable (sends on a socket) is the last thing before which
// (after which) it lives. Each such moment adds a byte to the file NAME.count.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int passed;

static void Die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// Counts one moment of `kind`; which of them it is to die at, or 0.
static int Reached(const char* kind, char when[8]) {
  const char* path = getenv("CAPSTAN_DIE_AT");
  if (path == NULL) return 0;
  char text[64] = "";
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    atomic_store(&passed, 0);
    return 0;
  }
  const ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  char wanted[8] = "";
  int number = 0;
  if (length <= 0 || sscanf(text, "%7s %7s %d", when, wanted, &number) != 3) return 0;
  if (strcmp(wanted, kind) != 0) return 0;
  char name[4096];
  snprintf(name, sizeof(name), "%s.count", path);
  file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file >= 0) {
    (void)!write(file, ".", 1);
    close(file);
  }
  return atomic_fetch_add(&passed, 1) + 1 == number;
}

#define DYING(kind, call)                                  \
  char when[8] = "";                                       \
  const int here = Reached(kind, when);                    \
  if (here && strcmp(when, "before") == 0) Die();          \
  const long result = call;                                \
  if (here) Die();                                         \
  return result

int fdatasync(int file) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  DYING("sync", real(file));
}

int fsync(int file) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  DYING("sync", real(file));
}

ssize_t sendmsg(int socket, const struct msghdr* message, int flags) {
  ssize_t (*real)(int, const struct msghdr*, int) =
      (ssize_t(*)(int, const struct msghdr*, int))dlsym(RTLD_NEXT, "sendmsg");
  DYING("send", real(socket, message, flags));
}
