/* An entry: a command on its way into its container. core/spawn.c starts it; core/entry.c keeps its
 * processes, core/entry_events.c tells its events. */
#ifndef CTREXEC_ENTRY_H
#define CTREXEC_ENTRY_H

#include "common/message.h"
#include "core.h"

#include <stdbool.h>
#include <sys/types.h>

#define CTX_ENTRY "ctrexec.entry"

/* How long to wait for the end of a killed process, in milliseconds. A process that is frozen, or that waits
 * for a file system that never answers, dies later or never. */
#define CTX_KILL_WAIT 1000

/* A command on its way into its container. */
struct entry {
    int control;     /* the control socket; -1 after its end */
    int status;      /* the status pipe of final; -1 after the last event */
    int go;          /* the pipe for "go" to the helper */
    int plan_fd;     /* the shared page in which the kernel notes the children */
    int first_pidfd; /* of first, until it is reaped */
    pid_t first;
    int child_pidfd; /* of final */
    pid_t child;
    struct ctx_packet early; /* a message that came before the `child` event; kind 0: none */
    bool announced;          /* `child` was given */
    bool held;     /* final waits for a "go" that C gives by itself: see may_lose_children in spawn.c */
    bool ready;    /* final waits for the last `go` */
    bool released; /* the last `go` was given */
    bool ended;    /* the status pipe has no writer left */
    bool told;     /* `started`, `error` or `died` was given */
    int fault;     /* errno of a failed call that the entry depends on; 0: none */
    const char *fault_call; /* the name of that call */
};

/* Closes a descriptor, if there is one. */
void ctx_close_fd(int *fd);

/* Keeps errno as the entry's fault, unless errno says that a process has ended: a lack of descriptors or
 * memory in this program must not look like the end of final. */
void ctx_note_fault(struct entry *entry, const char *call);

/* Opens the pidfd of final as soon as the kernel has noted its pid. */
void ctx_adopt_child(struct entry *entry);

/* Whether a process ends within the time. */
bool ctx_has_ended(int pidfd, int milliseconds);

/* Reaps first and member, which end by themselves as soon as final exists. */
void ctx_reap_helpers(struct entry *entry, bool kill_first);

/* Kills and reaps every process of the entry that has not become the command, and closes the entry. */
void ctx_abort_entry(struct entry *entry);

/* Closes the entry: it gives no more events. */
void ctx_close_entry(struct entry *entry);

/* Makes the metatable of entries. */
void ctx_make_entry_class(lua_State *L);

#endif
