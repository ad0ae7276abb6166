/* Loops of a user's program: integers, copies of memory, double precision. One argument says which;
 * the result is printed, and the same on every machine.
 *
 *   userland integer|copy|double
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Words counted in a hash table with open addresses: products, remainders, unforeseen branches. */
static uint64_t integers(void) {
  enum { SLOTS = 1 << 15, WORDS = 1500000 };
  static uint32_t keys[SLOTS], counts[SLOTS];
  uint32_t state = 12345;
  uint64_t probes = 0;
  for (int i = 0; i < WORDS; i++) {
    state = state * 1664525 + 1013904223;
    uint32_t key = (state >> 8) % 20011 + 1;
    uint32_t slot = key * 2654435761u >> 17;
    while (keys[slot] != 0 && keys[slot] != key) {
      slot = (slot + 1) % SLOTS;
      probes++;
    }
    keys[slot] = key;
    counts[slot]++;
  }
  uint64_t sum = probes;
  for (int i = 0; i < SLOTS; i++) sum = sum * 31 + counts[i];
  return sum;
}

/* Pieces of 100 bytes to 100 KiB, to and fro. */
static uint64_t copies(void) {
  enum { SIZE = 1 << 20 };
  static uint8_t from[SIZE + 64], to[SIZE + 64];
  for (int i = 0; i < SIZE; i++) from[i] = i * 7;
  uint64_t sum = 0;
  for (int i = 0; i < 12000; i++) {
    size_t length = 100 + (size_t)i * 7919 % 102300;
    size_t at = (size_t)i * 4093 % (SIZE - length);
    memcpy(to + at + i % 16, from + at, length);
    memmove(from + at, to + at + i % 16, length);
    sum += to[at + length / 2];
  }
  return sum;
}

/* Products of matrices, and their lengths. */
static uint64_t doubles(void) {
  enum { N = 160 };
  static double a[N][N], b[N][N], c[N][N];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      a[i][j] = (i * 7 + j) % 13 / 13.0;
      b[i][j] = (i + j * 5) % 11 / 11.0;
    }
  double sum = 0;
  for (int round = 0; round < 12; round++) {
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) {
        double cell = 0;
        for (int k = 0; k < N; k++) cell += a[i][k] * b[k][j];
        c[i][j] = cell / N;
      }
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) sum += sqrt(c[i][j] * c[i][j] + a[j][i]);
    memcpy(a, c, sizeof a);
  }
  uint64_t bits;
  memcpy(&bits, &sum, sizeof bits);
  return bits;
}

int main(int argc, char **argv) {
  const char *what = argc == 2 ? argv[1] : "";
  uint64_t result = 0;
  if (strcmp(what, "integer") == 0) result = integers();
  else if (strcmp(what, "copy") == 0) result = copies();
  else if (strcmp(what, "double") == 0) result = doubles();
  else return 2;
  printf("RESULT %s %016llx\n", what, (unsigned long long)result);
  return 0;
}
