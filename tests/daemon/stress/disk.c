/* A disk that fails on demand, laid between the program and the C library by LD_PRELOAD.
 *
 * The file named by DISK_FAULT holds one line: WHAT ERRNO SUFFIX. While it is there, system calls on files whose name
 * ends in SUFFIX (`*`: any file of the database) fail with ERRNO:
 *   write   writes, also those that make a file longer
 *   ro      writes, and opening for writing: a file system that became read-only
 *   sync    flushes
 *   torn    flushes, and the header of the WAL's index is left as a program killed while it wrote it would leave it:
 *           whoever comes next rebuilds the index from the WAL, and finds what was written and not flushed
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define DATABASE "outbox.db"
#define WAL_INDEX_HEADER 96

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

static int ends_in(const char *text, const char *suffix) {
    size_t length = strlen(text), end = strlen(suffix);
    return length >= end && strcmp(text + length - end, suffix) == 0;
}

/* The errno of the fault that `what` of the file `path` meets; 0: none. */
static int fault(const char *what, const char *path, int *torn) {
    char kind[16], suffix[64], line[128];
    int number = 0;
    const char *control = getenv("DISK_FAULT");
    if (!control || !strstr(path, DATABASE) || ends_in(path, "-shm")) return 0;
    if (!real_open) real_open = dlsym(RTLD_NEXT, "open");
    int fd = real_open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, line, sizeof line - 1);
    close(fd);
    if (length <= 0) return 0;
    line[length] = 0;
    if (sscanf(line, "%15s %d %63s", kind, &number, suffix) != 3) return 0;
    if (strcmp(suffix, "*") != 0 && !ends_in(path, suffix)) return 0;
    if (torn) *torn = strcmp(kind, "torn") == 0;
    int is = strcmp(kind, what) == 0
        || (strcmp(kind, "ro") == 0 && (strcmp(what, "write") == 0 || strcmp(what, "open") == 0))
        || (strcmp(kind, "torn") == 0 && strcmp(what, "sync") == 0);
    return is ? number : 0;
}

static int fault_of(const char *what, int fd, char *path, size_t size, int *torn) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return fault(what, path, torn);
}

#define REFUSE(what, fd)                                            \
    do {                                                            \
        char path[4096];                                            \
        int number = fault_of(what, fd, path, sizeof path, NULL);   \
        if (number) { errno = number; return -1; }                  \
    } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    REFUSE("write", fd);
    return real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (!real_pwrite) real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    REFUSE("write", fd);
    return real_pwrite(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return pwrite(fd, data, size, at);
}

int ftruncate(int fd, off_t size) {
    static int (*real)(int, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "ftruncate");
    REFUSE("write", fd);
    return real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    return ftruncate(fd, size);
}

static int open_any(const char *path, int flags, mode_t mode) {
    if (!real_open) real_open = dlsym(RTLD_NEXT, "open");
    int number = (flags & O_ACCMODE) != O_RDONLY ? fault("open", path, NULL) : 0;
    if (number) { errno = number; return -1; }
    return real_open(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_any(path, flags, mode);
}

/* Zeroes the header of the index beside the WAL at `path`. */
static void tear(char *path) {
    static const char zeros[WAL_INDEX_HEADER];
    char *end = strrchr(path, '-');
    if (!end || strcmp(end, "-wal") != 0) return;
    strcpy(end, "-shm");
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (!real_pwrite) real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_pwrite(fd, zeros, sizeof zeros, 0);
    /* Left open: to close it would drop this process's locks on the index. */
}

static int flush(int fd, const char *name) {
    char path[4096];
    int torn = 0, number = fault_of("sync", fd, path, sizeof path, &torn);
    if (!number) return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
    if (torn) tear(path);
    errno = number;
    return -1;
}

int fsync(int fd) {
    return flush(fd, "fsync");
}

int fdatasync(int fd) {
    return flush(fd, "fdatasync");
}
