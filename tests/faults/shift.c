/* Shifts the wall clock of one process, as an administrator shifts a host's: CLOCK_REALTIME and
 * time() are what the system says plus the seconds in the file SHIFT_FILE, a double, mapped. Linux
 * has no namespace for this clock, and setting the host's own would meet every other program. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static const volatile double *shift;

__attribute__((constructor)) static void map_shift(void)
{
	const char *path = getenv("SHIFT_FILE");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);

	if (mapped != MAP_FAILED)
		shift = mapped;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	int result;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	result = real(id, now);
	if (id == CLOCK_REALTIME && shift)
		now->tv_sec += (time_t)*shift;
	return result;
}

time_t time(time_t *where)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (where)
		*where = now.tv_sec;
	return now.tv_sec;
}
