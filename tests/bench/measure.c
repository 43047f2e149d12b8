/* Runs programs by turns and measures each: wall time, processor time and peak memory.
 *
 * usage: measure ROUNDS PROGRAM [ARGUMENT...] [-- PROGRAM [ARGUMENT...]]...
 *
 * Every program has /dev/null as its standard streams. For each, a line: medians of the wall and processor
 * time in milliseconds, the width of the middle half of the wall times in per cent of their median, and the
 * largest resident set in KiB, of the program or of a descendant that it has waited for. This program reaps
 * the processes that a program leaves behind. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROGRAMS_MAX = 32 };

struct program {
    char **argv;
    double *wall;
    double *cpu;
    long peak;
};

extern char **environ;

static double milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static double time_of(struct timeval time)
{
    return (double)time.tv_sec * 1e3 + (double)time.tv_usec * 1e-3;
}

static int compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;

    return (a > b) - (a < b);
}

static pid_t start(char **argv, int null)
{
    pid_t pid = vfork();

    if (pid == 0) {
        for (int fd = 0; fd <= 2; fd++) {
            dup2(null, fd);
        }
        if (argv[0] != NULL) {
            execvp(argv[0], argv);
        }
        _exit(127);
    }
    return pid;
}

/* wait4(2) gives the largest peak of the program and of the descendants that it has waited for. */
static bool measure(struct program *program, int round, int null)
{
    struct rusage usage;
    int status;
    double began = milliseconds();
    pid_t pid = start(program->argv, null);

    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) {
        return false;
    }
    program->wall[round] = milliseconds() - began;
    program->cpu[round] = time_of(usage.ru_utime) + time_of(usage.ru_stime);
    if (usage.ru_maxrss > program->peak) {
        program->peak = usage.ru_maxrss;
    }
    while (waitpid(-1, NULL, 0) > 0) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int split(char **words, struct program *programs)
{
    int count = 0;

    while (*words != NULL && count < PROGRAMS_MAX) {
        programs[count++].argv = words;
        while (*words != NULL && strcmp(*words, "--") != 0) {
            words++;
        }
        if (*words != NULL) {
            *words++ = NULL;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    static struct program programs[PROGRAMS_MAX];
    const int rounds = argc > 2 ? atoi(argv[1]) : 0;
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (rounds < 1 || null < 0) {
        fputs("usage: measure ROUNDS PROGRAM [ARGUMENT...] [-- PROGRAM [ARGUMENT...]]...\n", stderr);
        return 2;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    const int count = split(argv + 2, programs);
    for (int i = 0; i < count; i++) {
        programs[i].wall = calloc((size_t)rounds, sizeof(double));
        programs[i].cpu = calloc((size_t)rounds, sizeof(double));
        if (programs[i].wall == NULL || programs[i].cpu == NULL) {
            return 1;
        }
    }
    for (int round = -1; round < rounds; round++) { /* round -1 warms the caches */
        for (int i = 0; i < count; i++) {
            if (!measure(&programs[i], round < 0 ? 0 : round, null)) {
                fprintf(stderr, "measure: %s failed\n", programs[i].argv[0]);
                return 1;
            }
        }
    }
    for (int i = 0; i < count; i++) {
        qsort(programs[i].wall, (size_t)rounds, sizeof(double), compare);
        qsort(programs[i].cpu, (size_t)rounds, sizeof(double), compare);
        const double median = programs[i].wall[rounds / 2];
        const double spread = programs[i].wall[rounds * 3 / 4] - programs[i].wall[rounds / 4];
        printf("%.3f %.3f %.0f %ld\n", median, programs[i].cpu[rounds / 2], spread / median * 100,
               programs[i].peak);
        free(programs[i].wall);
        free(programs[i].cpu);
    }
    return 0;
}
