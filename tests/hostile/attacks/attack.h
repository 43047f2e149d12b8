/* What the modes of the attack program share. Those of outside.c run outside the container, all others in it,
 * as its root, with what the test case gives them. */
#ifndef CTREXEC_ATTACK_H
#define CTREXEC_ATTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Adds a line to /log, which the test reads from outside. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program with a line that says why the attack cannot be made here. */
_Noreturn void give_up(const char *what);

/* Waits until a process that does not exist yet is born in this pid namespace, and returns its pid. The next
 * number is asked for without pause, so this returns within a microsecond of the birth. */
pid_t wait_for_birth(void);

/* Whether the process has not made an execve since its fork: field 9 of /proc/PID/stat. */
bool is_entering(pid_t pid);

/* Stops the process, and tells whether that was before its execve. */
bool stop_entering(pid_t pid);

/* A line of /proc/PID/status as a number of base 16, 0 when it cannot be read. */
uint64_t status_mask(pid_t pid, const char *name);

/* A listening TCP socket that never accepts a connection. */
int deaf_listener(void);

/* A connection to that listener whose close waits an hour for its data to be taken, while the listener is
 * open. */
int lingering_socket(int listener);

/* Sends a descriptor over a socket, without waiting. -1 and errno on failure. */
ssize_t send_fd(int to, int fd);

/* The modes of the program, each in a file of its own. argv starts behind the mode's name. */
int spy(int argc, char **argv);
int hijack(int argc, char **argv);
int killer(int argc, char **argv);
int stopper(int argc, char **argv);
int thief(int argc, char **argv);
int overwrite(int argc, char **argv);
int spoil(int argc, char **argv);
int swap(int argc, char **argv);
int flap(int argc, char **argv);
int silent_fs(int argc, char **argv);
int watch(int argc, char **argv);
int hog(int argc, char **argv);
int forks(int argc, char **argv);
int keys(int argc, char **argv);
int hold_terminals(int argc, char **argv);
int paste(int argc, char **argv);
int show(int argc, char **argv);
int flip(int argc, char **argv);
int backlog(int argc, char **argv);
int agent(int argc, char **argv);
int closer(int argc, char **argv);
int returner(int argc, char **argv);
int console(int argc, char **argv);
int file_capability(int argc, char **argv);

#endif
