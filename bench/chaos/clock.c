/* A library to preload: the wall clock of Python code, CLOCK_REALTIME, goes wrong by as many seconds as the file that
   $CLOCK_OFFSET names holds, a double. Native libraries keep the right time: they wait for moments of the real clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static double *offset;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("CLOCK_OFFSET");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    real = dlsym(RTLD_NEXT, "clock_gettime");
    if (file >= 0) offset = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
}

static int is_python(const void *caller) {
    Dl_info found;
    if (!dladdr(caller, &found) || !found.dli_fname) return 0;
    const char *slash = strrchr(found.dli_fname, '/'), *name = slash ? slash + 1 : found.dli_fname;
    return !strncmp(name, "python", 6) || !strncmp(name, "libpython", 9) || !strncmp(name, "_datetime", 9);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = real(id, now);
    if (!failed && id == CLOCK_REALTIME && offset && is_python(__builtin_return_address(0))) now->tv_sec += (time_t)*offset;
    return failed;
}
