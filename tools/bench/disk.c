/* Reads and writes a disk past the guest's page cache, one request at a time. For each part a line
 * before and a line after it, with the round's number: the host takes the time between.
 *
 *   disk DEVICE MIB ROUNDS PASSES
 *
 * A part in order goes over the disk PASSES times: once is too short for the host's clock.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const size_t LARGE = 256 * 1024;
static const size_t SMALL = 4096;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* `count` requests of `size` bytes, one behind another or all over the first `span` bytes. */
static void run(const char *name, int round, int disk, void *buffer, size_t size, long count,
                uint64_t span, int write) {
  uint32_t state = 12345;
  printf("BEGIN %s-%d\n", name, round);
  fflush(stdout);
  for (long i = 0; i < count; i++) {
    uint64_t place = (uint64_t)i;
    if (size == SMALL) place = state = state * 1664525 + 1013904223;
    place %= span / size;
    ssize_t done = write ? pwrite(disk, buffer, size, place * size)
                         : pread(disk, buffer, size, place * size);
    if (done != (ssize_t)size) fail(name);
  }
  if (write && fsync(disk) != 0) fail("fsync");
  printf("END %s-%d\n", name, round);
  fflush(stdout);
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int disk = open(argv[1], O_RDWR | O_DIRECT);
  if (disk < 0) fail(argv[1]);
  uint64_t span = strtoul(argv[2], NULL, 10) << 20;
  void *buffer = NULL;
  if (posix_memalign(&buffer, 4096, LARGE) != 0) return 1;
  for (size_t i = 0; i < LARGE; i++) ((unsigned char *)buffer)[i] = i * 7;
  long ordered = atoi(argv[4]) * (long)(span / LARGE);
  for (int round = 0; round < atoi(argv[3]); round++) {
    run("seq-write", round, disk, buffer, LARGE, ordered, span, 1);
    run("seq-read", round, disk, buffer, LARGE, ordered, span, 0);
    run("rand-write", round, disk, buffer, SMALL, 2000, span, 1);
    run("rand-read", round, disk, buffer, SMALL, 4000, span, 0);
  }
  return 0;
}
