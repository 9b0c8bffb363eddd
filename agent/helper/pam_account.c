/* PAM's account phase for sshd: may a login that was handed a one-time key continue?
 *
 * pam_exec.so (pam_exec(8)) runs it as root, as a child of the login's sshd process. The same
 * process, or its parent, ran the AuthorizedKeysCommand helper. So sixtykeyd knows what the process
 * was handed, and has written a file named PID-STARTTIME for it. Without such a file, sixtykey is
 * not involved: status 0, and the daemon is not asked. With a file, the login continues only if the
 * daemon says yes within a second; else status 1 refuses it. It reads a bounded amount. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "/run/sixtykey/lookup.sock"
#define FOLDER "/handed" /* beside the socket */
#define SYSLOG "/dev/log"
enum { DEADLINE_MS = 1000, LOG_BYTES = 900, ADDRESS_BYTES = 64 };
static const char USAGE[] = "\
usage: pam-account [--socket PATH]\n\
\n\
May the sshd process that runs this program log somebody in? Yes (status 0) unless it was handed\n\
a one-time key: then only if sixtykeyd says so. For the account phase in /etc/pam.d/sshd:\n\
    account required pam_exec.so quiet /usr/lib/sixtykey/pam-account\n\
\n\
  --socket PATH  where sixtykeyd answers (default: /run/sixtykey/lookup.sock); the files that say\n\
                 who was handed a key are in the folder `handed` beside it\n";

/* Log one line to syslog (authpriv.warning), or drop it rather than wait: see authorized_keys.c. */
__attribute__((format(printf, 1, 2))) static void warn(const char *format, ...) {
    const struct sockaddr_un log = {.sun_family = AF_UNIX, .sun_path = SYSLOG};
    const int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char line[64 + LOG_BYTES + 1];
    const int head = snprintf(line, 64, "<84>sixtykey-pam-account[%ld]: ", (long)getpid());
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + head, LOG_BYTES + 1, format, arguments);
    va_end(arguments);
    for (char *c = line + head; *c; c++) *c = *c < ' ' || *c > '~' ? '?' : *c;
    sendto(sock, line, strlen(line), 0, (const struct sockaddr *)&log, sizeof log);
    close(sock);
}

static int64_t now(void) { /* microseconds */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* One process: its parent, and its start in clock ticks since boot. */
struct process {
    bool known;
    long id, parent;
    unsigned long long start;
};

/* The number at a field's beginning. (glibc 2.38's strtoull does not exist in older glibc.) */
static unsigned long long number_at(const char *digit) {
    unsigned long long number = 0;
    for (; *digit >= '0' && *digit <= '9'; digit++)
        number = number * 10 + (unsigned long long)(*digit - '0');
    return number;
}

/* Read fields 4 and 22 of /proc/PID/stat (proc(5)). */
static struct process read_process(long id) {
    struct process found = {.id = id};
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", id);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    if (size <= 0) return found;
    text[size] = '\0';
    /* A process chooses its name, which may contain anything: the fields follow the last ')'. */
    const char *field = strrchr(text, ')');
    for (int number = 2; field && number < 22; number++) {
        field = strchr(field + 1, ' ');
        if (field && number == 3) found.parent = (long)number_at(field + 1);
    }
    if (field) found.start = number_at(field + 1);
    found.known = field != NULL;
    return found;
}

/* Whether the folder has any file: the question for an unknown process. */
static bool has_files(int folder) {
    DIR *const entries = fdopendir(dup(folder));
    bool found = false;
    if (!entries) return true;
    for (struct dirent *entry; !found && (entry = readdir(entries));)
        found = entry->d_name[0] != '.';
    closedir(entries);
    return found;
}

/* Whether the folder has the process's file; true in doubt. */
static bool is_marked(int folder, const struct process *process) {
    char name[64];
    if (!process->known) return has_files(folder);
    snprintf(name, sizeof name, "%ld-%llu", process->id, process->start);
    const int file = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return errno != ENOENT;
    close(file);
    return true;
}

/* Whether a one-time key was handed to the login's sshd process; true in doubt. That process is
 * this program's parent. With keyboard-interactive it is the grandparent, since sshd then runs PAM
 * in a child (OpenSSH, auth-pam.c). */
static bool has_one_time_key(const char *socket_path) {
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof FOLDER];
    const char *const end = strrchr(socket_path, '/');
    snprintf(path, sizeof path, "%.*s" FOLDER, end ? (int)(end - socket_path) : 0, socket_path);
    const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return errno != ENOENT;
    struct process login = read_process(getppid());
    bool handed = is_marked(folder, &login);
    if (!handed && login.parent) {
        login = read_process(login.parent);
        handed = is_marked(folder, &login);
    }
    close(folder);
    return handed;
}

/* Whether a string has only characters of an IP address. */
static bool is_address(const char *text, size_t length) {
    return length && length < ADDRESS_BYTES &&
           strspn(text, "0123456789abcdefABCDEF:.%") >= length;
}

/* `admit ADDRESS[ partial]`: the login's address, and whether a key was accepted in a step before
 * the last one (sshd_config(5), AuthenticationMethods). */
static void write_request(char *request, size_t size) {
    const char *connection = getenv("SSH_CONNECTION"), *before = getenv("SSH_AUTH_INFO_0");
    if (!connection) connection = getenv("PAM_RHOST");
    if (!connection) connection = "";
    const size_t length = strcspn(connection, " ");
    const bool known = is_address(connection, length);
    snprintf(request, size, "admit %.*s%s\n", known ? (int)length : 1, known ? connection : "-",
             before && strstr(before, "publickey ") ? " partial" : "");
}

/* Ask once. Returns the answer's size; -1 with errno. */
static ssize_t exchange(int sock, const struct sockaddr_un *where, const char *request,
                        char *answer, size_t most, int64_t end) {
    const int64_t left = end - now();
    const struct timeval time = {.tv_sec = left / 1000000, .tv_usec = left % 1000000};
    ssize_t size = 0, got = 1;
    errno = ETIMEDOUT;
    if (left <= 0 || setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) ||
        setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) ||
        connect(sock, (const struct sockaddr *)where, sizeof *where) ||
        send(sock, request, strlen(request), MSG_NOSIGNAL) < 0)
        return -1;
    while (got && (size_t)size < most) {
        got = now() < end ? recv(sock, answer + size, most - (size_t)size, 0) : -1;
        if (got < 0) return -1;
        size += got;
    }
    return size;
}

/* Whether the daemon admits this login within a second. */
static bool is_admitted(const char *path) {
    static const char YES[] = "yes\n\n";
    const int64_t end = now() + DEADLINE_MS * 1000;
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    char request[ADDRESS_BYTES + 32], answer[512];
    if (strlen(path) >= sizeof where.sun_path) {
        warn("refused: the path of the socket is too long");
        return false;
    }
    memcpy(where.sun_path, path, strlen(path));
    write_request(request, sizeof request);
    for (; now() < end; usleep(5000)) {
        const int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const ssize_t size = exchange(sock, &where, request, answer, sizeof answer, end);
        close(sock);
        /* The daemon is absent or busy, or it ended before it answered: ask again, since the next
         * daemon knows what this one wrote. An answer needs its end mark, an empty line. */
        if (size < 2 || memcmp(answer + size - 2, "\n\n", 2)) continue;
        if (size == sizeof YES - 1 && !memcmp(answer, YES, sizeof YES - 1)) return true;
        warn("refused: %.*s", (int)size - 2, answer);
        return false;
    }
    warn("refused: this login was handed a one-time key, and sixtykeyd does not answer at %s", path);
    return false;
}

int main(int argc, char **argv) {
    const char *path = SOCKET;
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && !strcmp(argv[1], "--help"))
        return write(1, USAGE, strlen(USAGE)) < 0;
    if (argc == 3 && !strcmp(argv[1], "--socket")) {
        path = argv[2];
    } else if (argc != 1) {
        /* A typing error in PAM's file must not lock everybody out. */
        warn("the line in /etc/pam.d/sshd is wrong: pam-account takes [--socket PATH]");
    }
    return has_one_time_key(path) && !is_admitted(path);
}
