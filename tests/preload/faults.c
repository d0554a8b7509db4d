/* Makes every durable step of a program, and every flight it sends, a place where it can fail.
 *
 * Loaded by LD_PRELOAD. It counts the library calls that change something on the disk (writes to
 * regular files, syncs, truncations, new files and folders, renames, links, removals) and those that
 * send to an internet socket. Each is an event with a label: the call and the last two parts of the
 * path, what is random in them replaced by `*`. Events are counted by label.
 *
 *   FAULTS_LOG    file; a line for each event: label, tab, number
 *   FAULTS_AT     LABEL@NUMBER, or @NUMBER among all events
 *   FAULTS_DO     what happens there:
 *                   kill     the process dies before the call
 *                   after    it dies after the call
 *                   half     it dies after the first half of the bytes (a torn write)
 *                   lose     it dies before the call, and the machine with it: of files that end in
 *                            `.part` only what was synced is left
 *                   full     the disk is full from the middle of this call on
 *                   eio      this one call fails with an I/O error
 *                   signal-N the process gets signal N, then goes on
 *   FAULTS_WHILE  file; the disk is full only as long as it exists
 *
 * Calls that go round the C library are not seen. (The crate `tempfile` renames so: the sync of the
 * file before and the sync of the folder after stand on both sides of it.) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LABELS 512
#define LABEL 200

enum act { GO, KILL, AFTER, HALF, FULL, EIO_ONCE, SIGNAL, LOSE };
/* What a call does: adds to the disk, may hit a full one; or does not. */
enum kind { GROWS, OTHER };

static struct { char label[LABEL]; long count; } seen[LABELS];
static long all;
static volatile char lock;
static int log_fd = -1;
static char at_label[LABEL];
static long at_number = -1;
static enum act at_act = GO;
static int at_signal;
static const char *full_while;
static volatile int disk_full;
/* A disk that fills up takes the first half of one write. */
static volatile int torn;

#define REAL(name) ({ \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    real; })

__attribute__((constructor)) static void start(void) {
    const char *log = getenv("FAULTS_LOG"), *at = getenv("FAULTS_AT"), *act = getenv("FAULTS_DO");
    full_while = getenv("FAULTS_WHILE");
    if (log) {
        int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 700);
        syscall(SYS_close, fd);
    }
    const char *number = at ? strrchr(at, '@') : NULL;
    if (!number || !act) return;
    snprintf(at_label, LABEL, "%.*s", (int)(number - at), at);
    at_number = atol(number + 1);
    at_act = !strcmp(act, "kill")  ? KILL
           : !strcmp(act, "after") ? AFTER
           : !strcmp(act, "half")  ? HALF
           : !strcmp(act, "lose")  ? LOSE
           : !strcmp(act, "full")  ? FULL
           : !strcmp(act, "eio")   ? EIO_ONCE
           : !strncmp(act, "signal-", 7) ? SIGNAL : GO;
    if (at_act == SIGNAL) at_signal = atoi(act + 7);
    if (at_act == GO) abort();
}

static void say(const char *text) {
    if (log_fd >= 0) syscall(SYS_write, log_fd, text, strlen(text));
}

/* Files of which a crash of the machine takes what was not synced. */
#define PARTS 16
static struct { dev_t dev; ino_t ino; char path[512]; off_t synced; } parts[PARTS];

/* Remembers such a file before it is written to, or how long it is when it was synced. */
static void part_file(int fd, const char *path, int synced) {
    struct stat meta;
    size_t length = strlen(path);
    if (length < 5 || length >= sizeof parts[0].path || strcmp(path + length - 5, ".part")) return;
    if (at_act != LOSE || fstat(fd, &meta)) return;
    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) {}
    for (int i = 0; i < PARTS; i++) {
        if (!parts[i].path[0]) {
            strcpy(parts[i].path, path);
            parts[i].dev = meta.st_dev, parts[i].ino = meta.st_ino;
            parts[i].synced = meta.st_size;
        }
        if (parts[i].dev == meta.st_dev && parts[i].ino == meta.st_ino) {
            if (synced || meta.st_size < parts[i].synced) parts[i].synced = meta.st_size;
            break;
        }
    }
    __atomic_clear(&lock, __ATOMIC_RELEASE);
}

static void part_synced(int fd) {
    char link[64], path[4096];
    if (at_act != LOSE) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    part_file(fd, path, 1);
}

static void lose(void) {
    for (int i = 0; i < PARTS && parts[i].path[0]; i++)
        syscall(SYS_truncate, parts[i].path, parts[i].synced);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Appends one part of a path, without what is random in it. */
static void part(char *to, const char *from, size_t length) {
    static const char *fresh[] = {".tally-init-", ".tally-write-", ".tally-", ".snapshot-", ".tmp"};
    char *end = to + strlen(to), *most = to + LABEL - 2;
    if (length && from[0] == '#') { strcpy(end, "spool"); return; }
    for (size_t i = 0; i < sizeof fresh / sizeof *fresh; i++) {
        size_t n = strlen(fresh[i]);
        if (length > n && !strncmp(from, fresh[i], n)) {
            const char *dot = memchr(from + n, '.', length - n);
            int rest = dot ? (int)(length - (dot - from)) : 0;
            snprintf(end, most - end, "%s*%.*s", fresh[i], rest, dot ? dot : "");
            return;
        }
    }
    for (size_t i = 0; i < length && end < most;) {
        size_t run = strspn(from + i, "0123456789abcdef");
        if (run > length - i) run = length - i;
        if (run >= 16) { *end++ = '*'; i += run; }
        else *end++ = from[i++];
    }
    *end = 0;
}

static void label_of(char *label, const char *call, const char *path) {
    size_t length = strlen(path);
    const char *deleted = strstr(path, " (deleted)");
    if (deleted) length = deleted - path;
    size_t last = length;
    while (last && path[last - 1] != '/') last--;
    size_t before = last ? last - 1 : 0, first = before;
    while (first && path[first - 1] != '/') first--;
    snprintf(label, LABEL, "%s ", call);
    if (last) { part(label, path + first, before - first); strcat(label, "/"); }
    part(label, path + last, length - last);
}

static int is_full(void) {
    return disk_full && (!full_while || !syscall(SYS_faccessat, AT_FDCWD, full_while, F_OK));
}

/* Counts an event; says what is to happen. Does not come back when the process dies before it. */
static enum act event(const char *call, const char *path, enum kind kind) {
    char label[LABEL], line[LABEL + 32];
    if (!strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6)) return GO;
    label_of(label, call, path);
    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) {}
    long number = ++all, count = 0;
    for (int i = 0; i < LABELS; i++) {
        if (!seen[i].label[0]) strcpy(seen[i].label, label);
        if (!strcmp(seen[i].label, label)) { count = ++seen[i].count; break; }
    }
    int here = at_act != GO
        && (at_label[0] ? count == at_number && !strcmp(at_label, label) : number == at_number);
    snprintf(line, sizeof line, "%s\t%ld\n", label, count);
    say(line);
    if (here) say("FIRED\t0\n");
    if (here && at_act == FULL) disk_full = 1;
    __atomic_clear(&lock, __ATOMIC_RELEASE);
    if (here && at_act == LOSE) lose();
    if (here && (at_act == KILL || at_act == LOSE)) die();
    if (here && at_act == SIGNAL) { syscall(SYS_kill, getpid(), at_signal); return GO; }
    if (here && at_act == FULL) return kind == GROWS ? FULL : GO;
    if (here) return at_act;
    return kind == GROWS && is_full() ? FULL : GO;
}

/* The event of a call on an open file. */
static enum act event_on(const char *call, int fd, enum kind kind, int *stream) {
    struct stat meta;
    char link[64], path[4096];
    int saved = errno;
    enum act act = GO;
    *stream = 0;
    if (fd > 2 && fd != log_fd && !fstat(fd, &meta)) {
        if (S_ISSOCK(meta.st_mode)) {
            struct sockaddr_storage name;
            socklen_t size = sizeof name;
            *stream = 1;
            if (!getsockname(fd, (struct sockaddr *)&name, &size)
                && (name.ss_family == AF_INET || name.ss_family == AF_INET6))
                act = event("send", "socket", OTHER);
        } else if (S_ISREG(meta.st_mode) || S_ISDIR(meta.st_mode)) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
            path[n > 0 ? n : 0] = 0;
            part_file(fd, path, 0);
            act = event(call, path, kind);
        }
    }
    errno = saved;
    return act;
}

/* The event of a call on a path. */
static enum act event_at(const char *call, int dir, const char *path, enum kind kind) {
    char link[64], whole[8192];
    int saved = errno;
    ssize_t n = 0;
    if (path[0] != '/') {
        if (dir == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        n = syscall(SYS_readlinkat, AT_FDCWD, link, whole, 4096);
        if (n < 0) n = 0;
        whole[n++] = '/';
    }
    snprintf(whole + n, 4096, "%s", path);
    n = strlen(whole);
    while (n > 1 && whole[n - 1] == '/') whole[--n] = 0;
    enum act act = event(call, whole, kind);
    errno = saved;
    return act;
}

static int there(int dir, const char *path) {
    int saved = errno;
    struct stat meta;
    int found = !fstatat(dir, path, &meta, AT_SYMLINK_NOFOLLOW);
    errno = saved;
    return found;
}

/* A call without bytes: it happens or fails whole. */
#define WHOLE(what, call) do { \
    enum act act_ = (what); \
    if (act_ == FULL) { errno = ENOSPC; return -1; } \
    if (act_ == EIO_ONCE) { errno = EIO; return -1; } \
    if (act_ == HALF) die(); \
    __typeof__(call) done = (call); \
    if (act_ == AFTER) die(); \
    return done; } while (0)

/* A call with bytes: `some` does it with the first n of them. */
#define BYTES(call_name, fd, total, call, some) do { \
    int stream; \
    enum act act_ = event_on(call_name, fd, GROWS, &stream); \
    size_t n = (total) / 2; \
    if (act_ == EIO_ONCE) { errno = stream ? ECONNRESET : EIO; return -1; } \
    if (act_ == HALF) { if (n) (void)!(some); die(); } \
    if (act_ == FULL) { \
        if (!torn && n) { torn = 1; return (some); } \
        errno = ENOSPC; return -1; } \
    ssize_t done = (call); \
    if (act_ == AFTER) die(); \
    return done; } while (0)

ssize_t write(int fd, const void *bytes, size_t size) {
    BYTES("write", fd, size, REAL(write)(fd, bytes, size), REAL(write)(fd, bytes, n));
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    BYTES("write", fd, size, REAL(pwrite)(fd, bytes, size, at), REAL(pwrite)(fd, bytes, n, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    BYTES("write", fd, size, REAL(pwrite64)(fd, bytes, size, at), REAL(pwrite64)(fd, bytes, n, at));
}

static size_t sum(const struct iovec *parts, int count) {
    size_t total = 0;
    for (int i = 0; i < count; i++) total += parts[i].iov_len;
    return total;
}

/* The half of a gathered write is its first part's half: enough to tear it. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    BYTES("write", fd, sum(parts, count), REAL(writev)(fd, parts, count),
          REAL(write)(fd, parts[0].iov_base, n < parts[0].iov_len ? n : parts[0].iov_len));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    BYTES("write", fd, sum(parts, count), REAL(pwritev)(fd, parts, count, at),
          REAL(pwrite)(fd, parts[0].iov_base, n < parts[0].iov_len ? n : parts[0].iov_len, at));
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
    BYTES("send", fd, size, REAL(send)(fd, bytes, size, flags), REAL(send)(fd, bytes, n, flags));
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to,
               socklen_t length) {
    BYTES("send", fd, size, REAL(sendto)(fd, bytes, size, flags, to, length),
          REAL(sendto)(fd, bytes, n, flags, to, length));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    BYTES("send", fd, 0, REAL(sendmsg)(fd, message, flags), 0);
}

int fsync(int fd) {
    int stream;
    WHOLE(event_on("sync", fd, OTHER, &stream), ({ int synced = REAL(fsync)(fd); if (!synced) part_synced(fd); synced; }));
}

int fdatasync(int fd) {
    int stream;
    WHOLE(event_on("sync", fd, OTHER, &stream), ({ int synced = REAL(fdatasync)(fd); if (!synced) part_synced(fd); synced; }));
}

int fchmod(int fd, mode_t mode) {
    int stream;
    WHOLE(event_on("mode", fd, OTHER, &stream), REAL(fchmod)(fd, mode));
}

static enum act cut(int fd, off64_t size) {
    struct stat meta;
    int stream;
    enum kind kind = !fstat(fd, &meta) && size > meta.st_size ? GROWS : OTHER;
    return event_on("cut", fd, kind, &stream);
}

int ftruncate(int fd, off_t size) { WHOLE(cut(fd, size), REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { WHOLE(cut(fd, size), REAL(ftruncate64)(fd, size)); }

int posix_fallocate(int fd, off_t at, off_t size) {
    int stream;
    enum act act = event_on("reserve", fd, GROWS, &stream);
    if (act == FULL) return ENOSPC;
    if (act == EIO_ONCE) return EIO;
    if (act == HALF) die();
    int done = REAL(posix_fallocate)(fd, at, size);
    if (act == AFTER) die();
    return done;
}

int rename(const char *from, const char *to) {
    WHOLE(event_at("rename", AT_FDCWD, to, OTHER), REAL(rename)(from, to));
}

int renameat(int d1, const char *from, int d2, const char *to) {
    WHOLE(event_at("rename", d2, to, OTHER), REAL(renameat)(d1, from, d2, to));
}

int renameat2(int d1, const char *from, int d2, const char *to, unsigned int flags) {
    WHOLE(event_at("rename", d2, to, OTHER), REAL(renameat2)(d1, from, d2, to, flags));
}

int link(const char *from, const char *to) {
    WHOLE(event_at("link", AT_FDCWD, to, GROWS), REAL(link)(from, to));
}

int linkat(int d1, const char *from, int d2, const char *to, int flags) {
    WHOLE(event_at("link", d2, to, GROWS), REAL(linkat)(d1, from, d2, to, flags));
}

int unlink(const char *path) {
    enum act act = there(AT_FDCWD, path) ? event_at("remove", AT_FDCWD, path, OTHER) : GO;
    WHOLE(act, REAL(unlink)(path));
}

int unlinkat(int dir, const char *path, int flags) {
    enum act act = there(dir, path) ? event_at("remove", dir, path, OTHER) : GO;
    WHOLE(act, REAL(unlinkat)(dir, path, flags));
}

int mkdir(const char *path, mode_t mode) {
    WHOLE(event_at("folder", AT_FDCWD, path, GROWS), REAL(mkdir)(path, mode));
}

int mkdirat(int dir, const char *path, mode_t mode) {
    WHOLE(event_at("folder", dir, path, GROWS), REAL(mkdirat)(dir, path, mode));
}

/* Opening changes something where it makes a file or empties one. */
static enum act opening(int dir, const char *path, int flags) {
    if ((flags & O_TMPFILE) == O_TMPFILE) return event_at("spool", dir, path, GROWS);
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) == O_RDONLY) return GO;
    if (!there(dir, path)) return flags & O_CREAT ? event_at("create", dir, path, GROWS) : GO;
    return flags & O_TRUNC ? event_at("empty", dir, path, OTHER) : GO;
}

#define MODE(flags) ({ \
    mode_t mode_ = 0; \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list rest; va_start(rest, flags); mode_ = va_arg(rest, mode_t); va_end(rest); } \
    mode_; })

int open(const char *path, int flags, ...) {
    mode_t mode = MODE(flags);
    WHOLE(opening(AT_FDCWD, path, flags), REAL(open)(path, flags, mode));
}

int open64(const char *path, int flags, ...) {
    mode_t mode = MODE(flags);
    WHOLE(opening(AT_FDCWD, path, flags), REAL(open64)(path, flags, mode));
}

int openat(int dir, const char *path, int flags, ...) {
    mode_t mode = MODE(flags);
    WHOLE(opening(dir, path, flags), REAL(openat)(dir, path, flags, mode));
}

int openat64(int dir, const char *path, int flags, ...) {
    mode_t mode = MODE(flags);
    WHOLE(opening(dir, path, flags), REAL(openat64)(dir, path, flags, mode));
}

int creat(const char *path, mode_t mode) {
    WHOLE(opening(AT_FDCWD, path, O_CREAT | O_TRUNC | O_WRONLY), REAL(creat)(path, mode));
}
