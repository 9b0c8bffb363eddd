/* libFuzzer on the compiled helper: whatever a daemon sends, in pieces and over connections, what is
 * printed are lines of the one form, and the same again when the daemon sends just those. The kernel
 * is played below; the first bytes say how. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const uint8_t *sent;
static size_t left_over, piece, printed;
static char output[2 << 20];
static int64_t clock_us;

static ssize_t receive(void *into, size_t room)
{
	size_t size = piece < left_over ? piece : left_over;

	size = size < room ? size : room;
	memcpy(into, sent, size);
	/* A byte of 255 ends a connection; the next one goes on behind it. */
	const uint8_t *end = memchr(sent, 255, size);
	if (end) {
		size = (size_t)(end - sent);
		if (!size) {
			sent++, left_over--;
			return 0;
		}
	}
	sent += size;
	left_over -= size;
	clock_us += 100;
	return (ssize_t)size;
}

static ssize_t collect(int where, const void *data, size_t size)
{
	if (where != 1)
		abort();
	memcpy(output + printed, data, size);
	printed += size;
	return (ssize_t)size;
}

static int tell(struct timespec *time)
{
	*time = (struct timespec){clock_us / 1000000, clock_us % 1000000 * 1000};
	return 0;
}

#define socket(domain, type, protocol) 3
#define connect(sock, where, size) ((void)(where), 0)
#define setsockopt(sock, level, name, value, size) ((void)(value), 0)
#define send(sock, data, size, flags) (ssize_t)(size)
#define sendto(sock, data, size, flags, where, length) ((void)(data), (void)(where))
#define recv(sock, into, room, flags) receive(into, room)
#define close(sock) (void)0
#define write(where, data, size) collect(where, data, size)
#define usleep(us) (void)(clock_us += (us))
#define clock_gettime(which, time) tell(time)
#define main helper_main
#include "../../agent/helper/authorized_keys.c"
#undef main

static void check_line(const char *line, const char *end)
{
	size_t spaces = 0;

	for (const char *c = line; c < end; c++) {
		if (*c < ' ' || *c > '~')
			abort();
		spaces += *c == ' ';
	}
	if (spaces < 2 || spaces > 3 || end - line < 36 + 8 || end[-37] != ' ')
		abort();
	const char *first = memchr(line, ' ', (size_t)(end - line));
	if (memmem(line, (size_t)(first - line), "command", 7) || *line == ' ' || *line == '#')
		abort();
}

static void run(const uint8_t *data, size_t size, const char *fingerprint)
{
	char user[] = "root", asked[64] = "";
	char *words[] = {user, fingerprint ? asked : NULL, NULL};

	if (fingerprint)
		memcpy(asked, fingerprint, strlen(fingerprint));
	sent = data;
	left_over = size;
	printed = 0;
	print_keys("/socket", words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const fingerprints[] = {NULL,
		"MD5:69:37:0b:f4:2a:da:6b:c4:69:22:d8:22:47:5b:92:08",
		"SHA256:EP9zlnrwbY4rFl8HPIa4s3mAR6v56dEIvZxkWugE0Y4", "SHA256:", "MD5:", "x"};
	static char before[sizeof output];
	size_t length;

	if (size < 2)
		return 0;
	piece = data[0] + 1U;
	const char *fingerprint = fingerprints[data[1] % (sizeof fingerprints / sizeof *fingerprints)];
	run(data + 2, size - 2, fingerprint);
	for (char *line = output, *end; line < output + printed; line = end + 1) {
		end = memchr(line, '\n', (size_t)(output + printed - line));
		if (!end)
			abort();
		check_line(line, end);
	}
	length = printed;
	memcpy(before, output, length);
	before[length] = '\n';
	run((uint8_t *)before, length + 1, fingerprint);
	if (printed != length || memcmp(before, output, length))
		abort();
	return 0;
}
