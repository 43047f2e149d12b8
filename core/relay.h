/* What the files of the relay share: relay.c (its options), relay_copy.c (a copy) and relay_loop.c (the
 * loop). */
#ifndef CTREXEC_RELAY_H
#define CTREXEC_RELAY_H

#include "recorder.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <termios.h>
#include <time.h>

enum {
    MAX_COPIES = 8,
    MAX_ENDS = 2 * MAX_COPIES,
    BUFFER_SIZE = 64 * 1024,
    NANOSECONDS = 1000000000,
};

enum kind { KIND_OTHER, KIND_FILE, KIND_PIPE, KIND_SOCKET, KIND_MASTER };

/* One descriptor of the caller's, however many copies use it. */
struct end {
    int given; /* the caller's number, -1 once closed */
    int *box;  /* the number inside its fd object, if it is one */
    int fd;    /* what is read and written: `given`, or a second open file description of the same file */
    int flags; /* to be set again on return, -1 if they were not changed */
    enum kind kind;
    bool blocks; /* a call on it may block: no second description could be opened */
};

struct copy {
    struct end *from;
    struct end *to;
    bool input;
    bool spliced;
    bool at_end; /* `from` has ended */
    bool done;
    bool waits_for_room; /* in `to`; else for data in `from` */
    enum ctx_stream stream;
    char *buffer;
    size_t start, end;
    size_t quota; /* once the process has ended: bytes that may still be read */
};

struct relay {
    struct end ends[MAX_ENDS];
    size_t end_count;
    struct copy copies[MAX_COPIES];
    size_t copy_count;
    int pidfd;
    int terminal;
    struct end *master;
    struct ctx_recorder *recorder;
    int signalfd;
    bool forwards_signals;
    bool ended;
    bool has_deadline;
    struct timespec deadline;
    bool has_raw_settings;
    struct termios raw_settings;
};

/* Finds a way to read and write a descriptor without blocking; ctx_put_back_end restores the descriptor. */
void ctx_prepare_end(struct end *end);
void ctx_put_back_end(struct end *end);

/* Whether splice(2) can move the data of a copy. */
bool ctx_can_splice(const struct copy *copy);

/* Moves what can be moved now. */
void ctx_step_copy(struct relay *relay, struct copy *copy);

/* The signals that are sent on to the process. */
void ctx_forwarded_signals(sigset_t *set);

/* Runs the loop. Returns 0 when the process has ended and its output has been copied, ETIME at the deadline,
 * or another errno. */
int ctx_run_relay(struct relay *relay);

#endif
