/* The floor of an exec: what any program must do to run a command in a container and wait for it.
 *
 * usage: floor [-h] PID COUNT PROGRAM
 *
 * Each round opens a pidfd, joins the namespaces that differ, and runs PROGRAM by vfork and execve. With -h a
 * child joins them, as a host program needs it that must stay in its own namespaces. Prints the median of a
 * round in milliseconds. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    return 1;
}

static int differing(pid_t pid)
{
    static const struct {
        const char *name;
        int flag;
    } kinds[] = {
        {"mnt", CLONE_NEWNS},  {"uts", CLONE_NEWUTS}, {"ipc", CLONE_NEWIPC},
        {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET}, {"cgroup", CLONE_NEWCGROUP},
    };
    int mask = 0;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        char path[64];
        struct stat ours;
        struct stat theirs;
        (void)snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i].name);
        if (stat(path, &ours) < 0) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kinds[i].name);
        if (stat(path, &theirs) == 0 && ours.st_ino != theirs.st_ino) {
            mask |= kinds[i].flag;
        }
    }
    return mask;
}

static bool run(const char *program)
{
    char *const argv[] = {(char *)program, NULL};
    char *const envp[] = {NULL};
    int status;
    pid_t pid = vfork();

    if (pid == 0) {
        execve(program, argv, envp);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool enter_and_run(pid_t init, int mask, const char *program)
{
    int pidfd = (int)syscall(SYS_pidfd_open, init, 0);
    bool ok = pidfd >= 0 && setns(pidfd, mask) == 0;

    close(pidfd);
    return ok && run(program);
}

static bool host_stays(pid_t init, int mask, const char *program)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(enter_and_run(init, mask, program) ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static double milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;

    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    const bool stay = argc > 1 && strcmp(argv[1], "-h") == 0;
    char **words = argv + (stay ? 2 : 1);

    if (argc != (stay ? 5 : 4)) {
        fputs("usage: floor [-h] PID COUNT PROGRAM\n", stderr);
        return 2;
    }
    const pid_t init = atoi(words[0]);
    const int count = atoi(words[1]);
    const int mask = differing(init);
    double *rounds = calloc((size_t)(count > 0 ? count : 1), sizeof(*rounds));
    if (rounds == NULL || count < 1) {
        free(rounds);
        return fail("count");
    }
    for (int i = 0; i < count; i++) {
        const double began = milliseconds();
        if (!(stay ? host_stays : enter_and_run)(init, mask, words[2])) {
            free(rounds);
            return fail(words[2]);
        }
        rounds[i] = milliseconds() - began;
    }
    qsort(rounds, (size_t)count, sizeof(*rounds), compare);
    printf("%.4f\n", rounds[count / 2]);
    free(rounds);
    return 0;
}
