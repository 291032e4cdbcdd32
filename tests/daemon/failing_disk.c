/* A disk that fails while the file in FLAWD_DISK_FAILS is there: loaded into the daemon before
 * everything else, so that it is the program as it is that meets it. Every second write to a file
 * below a folder `journal`, and every second wait for it, fails with EIO.
 * What is waited for and what is renamed is noted in the file FLAWD_DISK_NOTES, line by line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LONGEST = 4096 };

static int path_of(int file, char path[LONGEST]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, LONGEST - 1);
  if (length < 0)
    return 0;
  path[length] = 0;
  return 1;
}

static void note(const char *what, const char *path) {
  const char *notes = getenv("FLAWD_DISK_NOTES");
  char line[LONGEST + 16];
  int file = notes ? open(notes, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (file < 0)
    return;
  int length = snprintf(line, sizeof line, "%s %s\n", what, path);
  if (write(file, line, length) != length)
    abort();
  close(file);
}

static int fails(int file) {
  static atomic_uint calls;
  const char *switch_ = getenv("FLAWD_DISK_FAILS");
  char path[LONGEST];
  if (!switch_ || access(switch_, F_OK) != 0)
    return 0;
  if (!path_of(file, path) || !strstr(path, "/journal/"))
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

int fsync(int file) {
  char path[LONGEST];
  int outcome = (int)syscall(SYS_fsync, file);
  if (outcome == 0 && path_of(file, path))
    note("on-disk", path);
  return outcome;
}

int rename(const char *from, const char *to) {
  int outcome = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (outcome == 0)
    note("renamed", to);
  return outcome;
}
