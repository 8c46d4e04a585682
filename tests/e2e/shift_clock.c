// SPDX-License-Identifier: Apache-2.0
// Preloaded into a program (LD_PRELOAD): its wall clock is off by as many seconds as stand in the
// file that CAPSTAN_CLOCK_SHIFT names; by none while there is no such file. What waits until a time
// of the wall clock is told the kernel's own, as if that one had been stepped.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

// Times of the monotonic clock are smaller than this, those of the wall clock greater.
#define WALL_CLOCK_SECONDS 1000000000L

typedef long (*SyscallFunction)(long, ...);

static SyscallFunction RealSyscall(void) {
  static SyscallFunction real;
  if (real == NULL) real = (SyscallFunction)dlsym(RTLD_NEXT, "syscall");
  return real;
}

static long Shift(void) {
  static const char* path;
  if (path == NULL) path = getenv("CAPSTAN_CLOCK_SHIFT");
  if (path == NULL) return 0;
  char text[32] = "";
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  return length > 0 ? strtol(text, NULL, 10) : 0;
}

// The moment that `until` of the shifted clock is by the kernel's.
static struct timespec Kernels(const struct timespec* until) {
  struct timespec real = *until;
  if (real.tv_sec > WALL_CLOCK_SECONDS) real.tv_sec -= Shift();
  return real;
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  const int result = (int)RealSyscall()(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += Shift();
  return result;
}

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  (void)zone;
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t* restrict condition, pthread_mutex_t* restrict mutex,
                           const struct timespec* restrict until) {
  static int (*real)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*);
  if (real == NULL) {
    real = (int (*)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*))dlsym(
        RTLD_NEXT, "pthread_cond_timedwait");
  }
  const struct timespec kernels = Kernels(until);
  return real(condition, mutex, &kernels);
}

// Abseil's waiters call the futex themselves.
long syscall(long number, ...) {
  va_list list;
  long argument[6];
  va_start(list, number);
  for (int i = 0; i < 6; ++i) argument[i] = va_arg(list, long);
  va_end(list);
  struct timespec kernels;
  if (number == SYS_futex && (argument[1] & FUTEX_CLOCK_REALTIME) != 0 && argument[3] != 0) {
    kernels = Kernels((const struct timespec*)argument[3]);
    argument[3] = (long)&kernels;
  }
  return RealSyscall()(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                       argument[5]);
}
