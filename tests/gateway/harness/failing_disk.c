/* What the store writes fails as the file that FAILING_DISK names says: with this error number, or never while that is 0. Without the file
 * nothing fails. Loaded before libc, so that no test needs a disk of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(void)
{
    const char *path = getenv("FAILING_DISK");
    for (;;) {
        FILE *file = path ? fopen(path, "r") : NULL;
        int number = 0, read = 0;
        if (!file)
            return 0;
        read = fscanf(file, "%d", &number);
        fclose(file);
        if (read == 1 && number != 0) {
            errno = number;
            return 1;
        }
        usleep(5000);
    }
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next)
        next = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return fails() ? -1 : next(fd, bytes, length, offset);
}

int fdatasync(int fd)
{
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails() ? -1 : next(fd);
}
