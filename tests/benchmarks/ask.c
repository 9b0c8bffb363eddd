/* The limit for a helper: one question over a Unix socket, and the answer to stdout. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un where = {.sun_family = AF_UNIX};
	char line[512], answer[65536];
	ssize_t got;
	int sock;

	if (argc != 4 || strlen(argv[1]) >= sizeof where.sun_path ||
	    strlen(argv[2]) + strlen(argv[3]) + 2 > sizeof line)
		return 0;
	strcpy(where.sun_path, argv[1]);
	strcpy(line, argv[2]);
	strcat(line, " ");
	strcat(line, argv[3]);
	strcat(line, "\n");
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&where, sizeof where) ||
	    write(sock, line, strlen(line)) < 0)
		return 0;
	while ((got = read(sock, answer, sizeof answer)) > 0)
		if (write(1, answer, (size_t)got) != got)
			break;
	return 0;
}
