/*
 * A guest's end of vsock for tests, as nc is for TCP:
 *
 *   vsock listen PORT        takes one connection and sends back what comes, up to its end
 *   vsock connect PORT TEXT  sends TEXT to the host's port, ends that way, prints what comes
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int pump(int from, int to)
{
	char bytes[65536];
	ssize_t length;

	while ((length = read(from, bytes, sizeof bytes)) > 0)
		for (ssize_t done = 0; done < length;) {
			ssize_t count = write(to, bytes + done, length - done);

			if (count < 0)
				return fail("write");
			done += count;
		}
	return length < 0 ? fail("read") : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (argc < 3 || fd < 0)
		return fail("socket");
	address.svm_port = strtoul(argv[2], NULL, 10);
	if (strcmp(argv[1], "listen") == 0) {
		int connection;

		address.svm_cid = VMADDR_CID_ANY;
		if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
			return fail("listen");
		printf("listening\n");
		fflush(stdout);
		connection = accept(fd, NULL, NULL);
		if (connection < 0)
			return fail("accept");
		return pump(connection, connection);
	}
	address.svm_cid = VMADDR_CID_HOST;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return fail("connect");
	if (argc > 3 && write(fd, argv[3], strlen(argv[3])) < 0)
		return fail("write");
	shutdown(fd, SHUT_WR);
	return pump(fd, 1);
}
