/* Receives and sends over one TCP connection each. For each part a line before and a line after it,
 * with the round's number: the host takes the time between. The server sends to who begins with
 * 'r', and takes from others.
 *
 *   net ADDRESS PORT MIB ROUNDS
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (64 * 1024)

static char piece[PIECE];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void run(const char *name, int round, char command, const struct sockaddr_in *server,
                long bytes) {
  int line = socket(AF_INET, SOCK_STREAM, 0);
  if (line < 0 || connect(line, (const void *)server, sizeof *server) != 0) fail("connect");
  printf("BEGIN %s-%d\n", name, round);
  fflush(stdout);
  if (write(line, &command, 1) != 1) fail(name);
  for (long left = bytes; left > 0;) {
    ssize_t done = command == 'r' ? read(line, piece, PIECE) : write(line, piece, PIECE);
    if (done <= 0) fail(name);
    left -= done;
  }
  /* The server answers when it has all. */
  if (command != 'r' && (shutdown(line, SHUT_WR) != 0 || read(line, piece, 1) != 1)) fail(name);
  printf("END %s-%d\n", name, round);
  fflush(stdout);
  close(line);
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) return 2;
  long bytes = strtol(argv[3], NULL, 10) << 20;
  memset(piece, 'x', PIECE);
  for (int round = 0; round < atoi(argv[4]); round++) {
    run("receive", round, 'r', &server, bytes);
    run("send", round, 's', &server, bytes);
  }
  return 0;
}
