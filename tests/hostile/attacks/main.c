/* One static program with a mode for each attack: `attack MODE ARGUMENT...`. */
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SKIPPED = 77, PF_FORKNOEXEC = 0x40 };

void say(const char *format, ...)
{
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return;
    }
    if ((size_t)length > sizeof(line) - 2) {
        length = sizeof(line) - 2;
    }
    line[length++] = '\n';
    int fd = open("/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, line, (size_t)length) != length) {
        _exit(1);
    }
    close(fd);
}

_Noreturn void give_up(const char *what)
{
    say("cannot: %s: %s", what, strerror(errno));
    for (;;) {
        pause(); /* this may be the container's init, which must not exit */
    }
}

static pid_t last_pid(void)
{
    char text[32] = "";
    int fd = open("/proc/sys/kernel/ns_last_pid", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0) {
        give_up("read ns_last_pid");
    }
    close(fd);
    return (pid_t)strtol(text, NULL, 10);
}

pid_t wait_for_birth(void)
{
    static pid_t last;
    char path[32];
    if (last == 0) {
        last = last_pid();
    }
    for (unsigned tries = 0;; tries++) {
        struct stat about;
        snprintf(path, sizeof(path), "/proc/%d", (int)last + 1);
        if (stat(path, &about) == 0) {
            return ++last;
        }
        if (tries % 4096 == 4095) { /* a birth was missed, or the numbers started again */
            pid_t now = last_pid();
            if (now != last) {
                last = now - (now > last && stat(path, &about) == 0 ? 1 : 0);
            }
        }
    }
}

/* The state and, behind it, the other fields of /proc/PID/stat. NULL when there is no such process. */
static const char *stat_fields(pid_t pid, char *text, size_t room)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, room - 1);
    if (fd >= 0) {
        close(fd);
    }
    if (size <= 0) {
        return NULL;
    }
    text[size] = '\0';
    const char *at = strrchr(text, ')');
    return at != NULL && at[1] == ' ' ? at + 2 : NULL;
}

bool is_entering(pid_t pid)
{
    char text[512];
    /* state ppid pgrp session tty tpgid flags */
    const char *at = stat_fields(pid, text, sizeof(text));
    for (int field = 0; at != NULL && field < 6; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL && (strtoul(at, NULL, 10) & PF_FORKNOEXEC) != 0;
}

bool stop_entering(pid_t pid)
{
    char text[512];
    const char *state;
    if (kill(pid, SIGSTOP) < 0) {
        return false;
    }
    while ((state = stat_fields(pid, text, sizeof(text))) != NULL && *state != 'T' && *state != 'Z' &&
           *state != 'X') {
        ;
    }
    return is_entering(pid);
}

uint64_t status_mask(pid_t pid, const char *name)
{
    char path[32], line[256];
    const size_t length = strlen(name);
    uint64_t mask = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            mask = strtoull(line + length + 1, NULL, 16);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return mask;
}

/* What this program does when it is run as the helper's image of the next exec: see `overwrite` in
 * entering.c. */
static void run_as_image(void)
{
    static char tail[4096 + 1];
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    if (fd < 0 || pread(fd, tail, sizeof(tail) - 1, size - (off_t)sizeof(tail) + 1) <= 0) {
        _exit(1);
    }
    int owned = open(tail, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    char line[64];
    int length = snprintf(line, sizeof(line), "uid %u\n", (unsigned)geteuid());
    _exit(owned >= 0 && write(owned, line, (size_t)length) == length ? 0 : 1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } modes[] = {
        {"spy", spy},
        {"hijack", hijack},
        {"killer", killer},
        {"stopper", stopper},
        {"thief", thief},
        {"overwrite", overwrite},
        {"spoil", spoil},
        {"swap", swap},
        {"flap", flap},
        {"silent-fs", silent_fs},
        {"watch", watch},
        {"hog", hog},
        {"forks", forks},
        {"keys", keys},
        {"hold-terminals", hold_terminals},
        {"paste", paste},
        {"show", show},
        {"flip", flip},
        {"backlog", backlog},
        {"agent", agent},
        {"closer", closer},
        {"returner", returner},
        {"console", console},
        {"file-capability", file_capability},
    };
    if (argc > 0 && strcmp(argv[0], "ctrexec:[enter]") == 0) {
        run_as_image();
    }
    for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(argv[1], modes[i].name) == 0) {
            return modes[i].run(argc - 2, argv + 2);
        }
    }
    fprintf(stderr, "attack: unknown mode\n");
    return 2;
}
