/* A disk that fails while the file in FLAWD_DISK_FAILS is there: loaded into the daemon before
 * everything else, so that it is the program as it is that meets it. Every second write to a file
 * below a folder `journal`, and every second wait for it, fails with EIO. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(int file) {
  static atomic_uint calls;
  const char *switch_ = getenv("FLAWD_DISK_FAILS");
  char link[64], path[4096];
  if (!switch_ || access(switch_, F_OK) != 0)
    return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0)
    return 0;
  path[length] = 0;
  if (!strstr(path, "/journal/"))
    return 0;
  unsigned number = atomic_fetch_add(&calls, 1) * 2654435761u;
  if (number >> 31)
    return 0;
  errno = EIO;
  return 1;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  return fails(file) ? -1 : syscall(SYS_pwrite64, file, bytes, count, offset);
}

int fdatasync(int file) { return fails(file) ? -1 : (int)syscall(SYS_fdatasync, file); }
