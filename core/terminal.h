/* What the relay shares with the terminal binding. */
#ifndef CTREXEC_TERMINAL_H
#define CTREXEC_TERMINAL_H

#include <stdbool.h>

/* Whether `fd` is the master side of a pseudo-terminal, whatever name it was opened by: ptmx is the only
 * device with number 5:2 (the kernel's admin-guide/devices.txt), and only its driver answers TIOCGPTN. */
bool ctx_is_pty_master(int fd);

/* Gives the pseudo-terminal of `master` the window size of `terminal`. Returns 0, or -1 with errno. */
int ctx_copy_window_size(int terminal, int master);

#endif
