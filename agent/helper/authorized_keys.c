/* sshd's AuthorizedKeysCommand: asks sixtykeyd with which keys a user may log in now.
 *
 * It does the same as authorized_keys.py in a fifth of the time: the same command line, protocol,
 * checks, log lines and exit codes. sshd waits for it at every key that a client offers. It always
 * ends with status 0: sshd discards the output of a failing command, and logs a line at each call.
 * An error is logged once, to syslog. It allocates no memory: it reads into arrays of a fixed size,
 * and refuses what does not fit. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "/run/sixtykey/lookup.sock"
#define SYSLOG "/dev/log"
enum {
    DEADLINE_MS = 1000,   /* to connect, ask and read: sshd itself sets no time limit */
    MOST_BYTES = 1 << 20, /* one user has at most 128 keys: with RSA of 8192 bits 185 kB */
    CHAIN_MS = 10000,     /* sshd asks seven times at most, within its LoginGraceTime of 120 s */
    CHAIN_GRACE_MS = 200, /* for output of a chained command's children after it has ended */
    REQUEST_BYTES = 512, LOG_BYTES = 900, CHAIN_WORDS = 64,
};
static const char USAGE[] = "\
usage: authorized-keys [--socket PATH] [--chain COMMAND] USER [FINGERPRINT]\n\
\n\
Prints the keys that USER may log in with just now, as authorized_keys lines; with FINGERPRINT\n\
(SHA256:... or MD5:...) that key only. For sshd_config:\n\
    AuthorizedKeysCommand /usr/lib/sixtykey/authorized-keys %u %f\n\
\n\
  --socket PATH    where sixtykeyd answers (default: /run/sixtykey/lookup.sock)\n\
  --chain COMMAND  absolute path and arguments, split at white space, of a command to run after\n\
                   that with the same USER and FINGERPRINT; what it prints is added if it ends\n\
                   with status 0 within 10 seconds\n";
static const char *const TYPES[] = {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256",
                                    "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", NULL};
/* authorized_keys(5) options without arguments, in the order in which the daemon writes them. */
static const char *const OPTIONS[] = {"restrict", "X11-forwarding", "agent-forwarding",
    "no-X11-forwarding", "no-agent-forwarding", "no-port-forwarding", "no-pty", "no-user-rc",
    "port-forwarding", "pty", "user-rc", NULL};
static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char answer[MOST_BYTES + 2], other[MOST_BYTES + 2], trouble[128];
static uint8_t blob[MOST_BYTES];

/* Keep why something failed, for the log. */
static bool fail(const char *words) {
    snprintf(trouble, sizeof trouble, "%s", words);
    return false;
}

/* Log one line to syslog (authpriv.warning), or drop it rather than wait. syslog(3) waits while the
 * log's socket is full, and a login would wait with it. So send one datagram directly (RFC 3164).
 * It has no time: syslog adds it, and the local time zone would have to be read from a file. */
__attribute__((format(printf, 1, 2))) static void warn(const char *format, ...) {
    const struct sockaddr_un log = {.sun_family = AF_UNIX, .sun_path = SYSLOG};
    const int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    char line[64 + LOG_BYTES + 1];
    const int head = snprintf(line, 64, "<84>sixtykey-authorized-keys[%ld]: ", (long)getpid());
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

/* Limit the socket's next call to end at `end`. False with errno EAGAIN when that is past. */
static bool bound(int sock, int option, int64_t end) {
    const int64_t left = end - now();
    const struct timeval time = {.tv_sec = left / 1000000, .tv_usec = left % 1000000};
    errno = EAGAIN;
    return left > 0 && !setsockopt(sock, SOL_SOCKET, option, &time, sizeof time);
}

/* Ask once. Puts a line feed at answer[0], then the answer up to its end mark (an empty line) or
 * the stream's end. Returns the size with that line feed; 0 with errno on failure. */
static size_t exchange(int sock, struct sockaddr_un *where, const char *request, int64_t end) {
    size_t used = 1, seen = 0;
    ssize_t got = 1;
    answer[0] = '\n';
    if (!bound(sock, SO_SNDTIMEO, end) ||
        connect(sock, (struct sockaddr *)where, sizeof *where) ||
        send(sock, request, strlen(request), MSG_NOSIGNAL) < 0)
        return 0;
    for (; got && !memmem(answer + seen, used - seen, "\n\n", 2); used += (size_t)got) {
        seen = used - 1;
        errno = EMSGSIZE;
        if (used > MOST_BYTES || !bound(sock, SO_RCVTIMEO, end)) return 0;
        got = recv(sock, answer + used, MOST_BYTES + 1 - used, 0);
        if (got < 0) return 0;
    }
    return used;
}

/* Ask until there is a whole answer. `mark` is set to the line feed before its end mark.
 * False with `trouble` on failure. */
static bool ask(const char *path, const char *request, size_t *size, char **mark) {
    const int64_t end = now() + DEADLINE_MS * 1000;
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    size_t before = 0;
    if (strlen(path) >= sizeof where.sun_path) return fail("AF_UNIX path too long");
    memcpy(where.sun_path, path, strlen(path));
    for (; now() < end; usleep(5000)) {
        const int sock = socket(AF_UNIX, SOCK_STREAM, 0);
        *size = exchange(sock, &where, request, end);
        const int error = *size ? 0 : errno;
        close(sock);
        /* The backlog is full, or the daemon ended: systemd keeps the socket for the next one. */
        if (error == EAGAIN || error == EPIPE || error == ECONNRESET || error == EINTR) continue;
        if (error) return fail(error == EMSGSIZE ? "an answer without end" : strerror(error));
        *mark = memmem(answer, *size, "\n\n", 2);
        if (*mark) return true;
        /* An answer without an end mark is incomplete: the daemon was killed. But sixtykeyd 0.1.0
         * writes no mark, and may still run during an upgrade: accept whole lines, or none, when
         * the same answer comes twice. */
        if (*size == before && answer[before - 1] == '\n' && !memcmp(answer, other, before)) {
            warn("%s: no end mark: is sixtykeyd older than this helper?", path);
            *mark = answer + (*size)++ - 1;
            return true;
        }
        before = *size;
        memcpy(other, answer, before);
    }
    return fail("no whole answer within a second");
}

/* Whether this is an IPv4 or IPv6 address or an IPv6 /64 network in canonical form. The daemon
 * writes IPv4-mapped addresses as IPv4. sshd refuses a network whose host bits are set. */
static bool is_place(char *bits) {
    const char *address = strsep(&bits, "/");
    const int family = strchr(address, ':') ? AF_INET6 : AF_INET;
    char usual[INET6_ADDRSTRLEN];
    uint8_t packed[16];
    if (inet_pton(family, address, packed) != 1 || (family == AF_INET6 && strchr(address, '.')) ||
        !inet_ntop(family, packed, usual, sizeof usual) || strcmp(address, usual))
        return false;
    if (!bits) return true;
    return family == AF_INET6 && !strcmp(bits, "64") && !memcmp(packed + 8, (char[8]){0}, 8);
}

/* Whether the options have the daemon's form: from="ADDRESS", then words of the fixed list. */
static bool permitted(char *options) {
    char *word = strsep(&options, ",");
    const size_t length = strlen(word);
    if (length > 7 && !strncmp(word, "from=\"", 6) && word[length - 1] == '"') {
        word[length - 1] = '\0';
        if (!is_place(word + 6)) return false;
        word = strsep(&options, ",");
    }
    for (const char *const *next = OPTIONS; word && *next; next++)
        if (!strcmp(word, *next)) word = strsep(&options, ",");
    return !word;
}

/* Decode canonical base64 (RFC 4648 section 4) into `blob`; returns the size, or 0. */
static size_t decode(const char *encoded) {
    const size_t length = strlen(encoded);
    size_t size = 0, padding = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < length; i++) {
        const char *digit = strchr(DIGITS, encoded[i]);
        if (digit ? padding : encoded[i] != '=' || i + 2 < length) return 0;
        padding += !digit;
        bits = bits << 6 | (digit ? (uint32_t)(digit - DIGITS) : 0);
        for (unsigned shift = 24; i % 4 == 3 && shift; shift -= 8)
            blob[size++] = (uint8_t)(bits >> (shift - 8));
    }
    for (; padding && size; padding--)
        if (blob[--size]) return 0;
    return length % 4 ? 0 : size;
}

static uint32_t left(uint32_t word, unsigned by) {
    return word << by | word >> (32 - by);
}

/* RFC 1321, section 3.4: update the state v by a block of 16 words w. */
static void turn_md5(uint32_t v[8], uint32_t w[64]) {
    static const uint8_t by[] = {7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21};
    static const uint8_t times[] = {1, 5, 3, 7}, plus[] = {0, 1, 5, 0};
    static const uint32_t table[] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
    };
    for (unsigned i = 0, part = 0; i < 64; part = ++i / 16) {
        const uint32_t b = v[1], c = v[2], d = v[3];
        const uint32_t f[] = {d ^ (b & (c ^ d)), c ^ (d & (b ^ c)), b ^ c ^ d, c ^ (b | ~d)};
        const uint32_t sum = v[0] + f[part] + table[i] + w[(times[part] * i + plus[part]) % 16];
        memcpy(v, (uint32_t[]){d, b + left(sum, by[part * 4 + i % 4]), b, c}, 16);
    }
}

/* FIPS 180-4, section 6.2.2: update the state v by a block of 16 words w, extended to 64. */
static void turn_sha256(uint32_t v[8], uint32_t w[64]) {
    static const uint32_t table[] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };
    for (unsigned i = 0; i < 64; i++) {
        const uint32_t a = v[0], b = v[1], c = v[2], e = v[4], f = v[5], g = v[6];
        if (i >= 16)
            w[i] = w[i - 16] + (left(w[i - 15], 25) ^ left(w[i - 15], 14) ^ w[i - 15] >> 3) +
                   w[i - 7] + (left(w[i - 2], 15) ^ left(w[i - 2], 13) ^ w[i - 2] >> 10);
        const uint32_t sum = v[7] + (left(e, 26) ^ left(e, 21) ^ left(e, 7)) +
                             (g ^ (e & (f ^ g))) + table[i] + w[i];
        memmove(v + 1, v, 28);
        v[0] = sum + (left(a, 30) ^ left(a, 19) ^ left(a, 10)) + ((a & (b | c)) | (b & c));
        v[4] += sum;
    }
}

/* The SHA-256 (32 bytes) or MD5 (16 bytes) of the first `size` bytes of `blob`. */
static void digest(bool is_md5, size_t size, uint32_t h[8]) {
    const size_t padded = (size + 8) / 64 * 64 + 64;
    const uint64_t bits = is_md5 ? htole64(8 * size) : htobe64(8 * size);
    static const uint32_t first[] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0x6a09e667,
        0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(h, first + (is_md5 ? 0 : 4), 32);
    memset(blob + size, 0, padded - size);
    blob[size] = 0x80;
    memcpy(blob + padded - 8, &bits, 8);
    for (size_t at = 0; at < padded; at += 64) {
        uint32_t w[64], v[8];
        memcpy(w, blob + at, 64);
        for (unsigned i = 0; i < 16; i++) w[i] = is_md5 ? le32toh(w[i]) : be32toh(w[i]);
        memcpy(v, h, 32);
        (is_md5 ? turn_md5 : turn_sha256)(v, w);
        for (unsigned i = 0; i < 8; i++) h[i] += v[i];
    }
    for (unsigned i = 0; i < 8; i++) h[i] = is_md5 ? htole32(h[i]) : htobe32(h[i]);
}

/* Whether sshd's %f is the fingerprint of the key in `blob`: MD5:xx:xx:... or SHA256:base64. */
static bool is_named(const char *fingerprint, size_t size) {
    const bool is_md5 = !strncmp(fingerprint, "MD5:", 4);
    uint32_t h[8];
    char text[64];
    digest(is_md5, size, h);
    for (unsigned i = 0; i < 16; i++) snprintf(text + 3 * i, 4, ":%02x", ((uint8_t *)h)[i]);
    if (is_md5) return !strcmp(text, fingerprint + 3);
    if (strncmp(fingerprint, "SHA256:", 7)) return false;
    snprintf(text, sizeof text, "%s=", fingerprint + 7);
    return decode(text) == 32 && !memcmp(blob, h, 32);
}

/* Whether a line may be given to sshd: it has the daemon's exact form ([options] type key request
 * id), and its key has the fingerprint, if one is given. */
static bool genuine(const char *line, size_t length, const char *fingerprint) {
    static const char hex[] = "0123456789abcdef";
    char *rest = memcpy(other, line, length), *words[4], **word = words;
    const char *const *type = TYPES;
    other[length] = '\0';
    if (strlen(other) != length) return false;
    while (rest && word < words + 4) *word++ = strsep(&rest, " ");
    if (rest || word < words + 3) return false;
    word -= 3;
    while (*type && strcmp(word[0], *type)) type++;
    if (!*type || (word > words && !permitted(words[0])) || strlen(word[2]) != 36) return false;
    for (size_t i = 0; i < 36; i++)
        if (!strchr(i == 8 || i == 13 || i == 18 || i == 23 ? "-" : hex, word[2][i])) return false;
    const size_t size = decode(word[1]), named = strlen(*type);
    return size >= 4 + named && !memcmp(blob, (uint8_t[]){0, 0, 0, (uint8_t)named}, 4) &&
           !memcmp(blob + 4, *type, named) && (!fingerprint || is_named(fingerprint, size));
}

/* Write all of it. False with `trouble`, which is empty when sshd has found its key and closed. */
static bool put(int where, const char *data, size_t size) {
    for (ssize_t written; size; data += written, size -= (size_t)written) {
        written = write(where, data, size);
        if (written < 0) return fail(errno == EPIPE ? "" : strerror(errno));
    }
    return true;
}

/* Print the lines for USER [FINGERPRINT]; none if asking fails. False: writing failed. */
static bool print_keys(const char *path, char **words) {
    char request[REQUEST_BYTES + 1] = "", *mark;
    size_t size, length = 0, kept = 0;
    /* No push can name such a user, and the daemon could misread the request: do not ask. */
    for (char **word = words; *word; word++) {
        if (!**word || length + strlen(*word) >= REQUEST_BYTES) return true;
        for (const char *c = *word; *c; c++, length++) {
            if (*c <= ' ' || *c > '~') return true;
            request[length] = *c;
        }
        request[length++] = word[1] ? ' ' : '\n';
    }
    const int asked = (int)length - 1;
    if (!ask(path, request, &size, &mark)) {
        warn("no keys for %.*s: %s: %s", asked, request, path, trouble);
        return true;
    }
    for (char *line = answer + 1, *stop; line <= mark; line = stop + 1) {
        stop = memchr(line, '\n', (size_t)(mark - line) + 1);
        if (!genuine(line, (size_t)(stop - line), words[1])) continue;
        memmove(answer + kept, line, (size_t)(stop - line) + 1);
        kept += (size_t)(stop - line) + 1;
    }
    if (kept + 2 != size)
        warn("dropped what sixtykeyd does not write from its answer to %.*s", asked, request);
    return put(1, answer, kept);
}

/* Run a command, and print its output if it ends with status 0. False with `trouble`. */
static bool chain(char **command) {
    int64_t end = now() + CHAIN_MS * 1000;
    int pipes[2], status = 0;
    pid_t pid, ended = 0;
    size_t size = 0;
    ssize_t got = 1;
    signal(SIGCHLD, SIG_DFL); /* if it is ignored, waitpid gets no status */
    if (pipe2(pipes, O_CLOEXEC) || (pid = fork()) < 0) return fail(strerror(errno));
    if (!pid) {
        signal(SIGPIPE, SIG_DFL);
        setpgid(0, 0);
        close(0);
        if (!open("/dev/null", O_RDONLY) && dup2(pipes[1], 1) == 1) execv(command[0], command);
        warn("%s: %s", command[0], strerror(errno));
        _exit(0);
    }
    close(pipes[1]);
    while (got || !ended) {
        struct pollfd reader = {.fd = pipes[0], .events = POLLIN};
        const int64_t time = now();
        if (ended && time > end) break; /* a background process of it holds the pipe open */
        if (!ended && (ended = waitpid(pid, &status, WNOHANG))) end = time + CHAIN_GRACE_MS * 1000;
        if (time > end || size > MOST_BYTES) {
            if (!ended) kill(-pid, SIGKILL);
            return fail("the chained command takes too long or prints too much");
        }
        if (poll(&reader, got > 0, got ? 10 : 1) < 1) continue;
        got = read(pipes[0], answer + size, sizeof answer - size);
        size += got > 0 ? (size_t)got : 0;
    }
    close(pipes[0]);
    if (!status) return put(1, answer, size);
    snprintf(trouble, sizeof trouble, "the chained command failed: %d",
             WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

int main(int argc, char **argv) {
    const char *path = SOCKET, *space = " \t\n\v\f\r";
    char none[] = "", *chained = none, *command[CHAIN_WORDS + 3] = {NULL};
    char **words = argv + (argc > 0);
    size_t count = 0;
    bool done;
    signal(SIGPIPE, SIG_IGN);
    for (; words[0] && words[1]; words += 2)
        if (!strcmp(words[0], "--socket")) path = words[1];
        else if (!strcmp(words[0], "--chain")) chained = words[1];
        else break;
    if (words[0] && !words[1] && !strcmp(words[0], "--help")) {
        done = put(1, USAGE, strlen(USAGE));
    } else if (!words[0] || words[0][0] == '-' || (words[1] && words[2])) {
        done = put(2, USAGE, strlen(USAGE));
        if (done) return 2;
    } else {
        char *word = strtok(chained, space);
        for (; word && count < CHAIN_WORDS; word = strtok(NULL, space)) command[count++] = word;
        memcpy(command + count, words, 2 * sizeof *words);
        done = print_keys(path, words);
        if (done && word) done = fail("the chained command has too many words");
        if (done && count) done = chain(command);
    }
    if (!done && *trouble) warn("%s: %s", count ? command[0] : "authorized-keys", trouble);
    return 0;
}
