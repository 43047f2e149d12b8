/* Attacks of the container's first process on a program that finds it by its pid. */
#include "attack.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FLIPPED = CLONE_NEWUTS | CLONE_NEWIPC };

/* Starts a process that stays in the namespaces of this one, or in new ones. */
static pid_t keeper(int namespaces)
{
    int done[2];
    char byte;
    if (pipe(done) < 0) {
        give_up("pipe");
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(namespaces) < 0) {
            give_up("unshare");
        }
        if (write(done[1], "", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    if (pid < 0 || read(done[0], &byte, 1) != 1) {
        give_up("fork");
    }
    close(done[0]);
    close(done[1]);
    return pid;
}

static void *execute(void *argv)
{
    execv("/attack", argv);
    give_up("execv");
}

/* flip [FIRST SECOND ROUND]: the container's init goes to and fro between the namespaces of two processes,
 * all at once each time, and executes itself again every few times: from its first thread or from another
 * one, by turns. */
int flip(int argc, char **argv)
{
    char first[16], second[16], round[16];
    char *again[] = {"/attack", "flip", first, second, round, NULL};
    pid_t pids[2];
    unsigned long count = 0;
    if (argc < 3) {
        pids[0] = keeper(0);
        pids[1] = keeper(FLIPPED);
        say("ready %d %d", (int)pids[0], (int)pids[1]);
    } else {
        pids[0] = (pid_t)strtol(argv[0], NULL, 10);
        pids[1] = (pid_t)strtol(argv[1], NULL, 10);
        count = strtoul(argv[2], NULL, 10);
    }
    for (int i = 0; i < 2000; i++) {
        int pidfd = (int)syscall(SYS_pidfd_open, pids[i % 2], 0);
        if (pidfd < 0 || setns(pidfd, FLIPPED) < 0) {
            give_up("setns");
        }
        close(pidfd);
    }
    snprintf(first, sizeof(first), "%d", (int)pids[0]);
    snprintf(second, sizeof(second), "%d", (int)pids[1]);
    snprintf(round, sizeof(round), "%lu", count + 1);
    pthread_t thread;
    if (count % 2 == 1 && pthread_create(&thread, NULL, execute, again) == 0) {
        for (;;) {
            pause();
        }
    }
    execute(again);
    return 1;
}
