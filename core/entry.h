/* A command on its way in: its processes (entry.c) and its events (entry_events.c), which spawn.c starts. */
#ifndef CTREXEC_ENTRY_H
#define CTREXEC_ENTRY_H

#include "common/message.h"
#include "core.h"

#include <stdbool.h>
#include <sys/types.h>

#define CTX_ENTRY "ctrexec.entry"

/* How long a process that was killed is waited for, in milliseconds. One that is frozen, or waits for a file
 * system that never answers, dies later or never. */
#define CTX_KILL_WAIT 1000

/* A command on its way in. */
struct entry {
    int control;     /* the socket of the helper's processes that stay outside; -1 after its end */
    int status;      /* the pipe of the one inside; -1 when the story is over */
    int go;          /* the pipe to it */
    int plan_fd;     /* the shared page in which the kernel notes the children */
    int first_pidfd; /* of the first helper process, until it is reaped */
    pid_t first;
    int child_pidfd; /* of the process that becomes the command */
    pid_t child;
    struct ctx_packet early; /* a message that came before the `child` event; kind 0: none */
    bool announced;          /* `child` was given */
    bool held;               /* it waits for us, not for Lua: see may_lose_children */
    bool ready;              /* it waits for its last `go` */
    bool released;           /* it was given that */
    bool ended;              /* the status pipe has no writer left */
    bool told;               /* `started`, `error` or `died` was given */
    int fault;               /* errno of a call of ours without which we cannot follow; 0: none */
    const char *fault_call;  /* its name */
};

/* Closes a descriptor, if there is one. */
void ctx_close_fd(int *fd);

/* A limit of ours must not look like an end of the command's process: keeps errno as the entry's fault,
 * unless it says that a process has ended. */
void ctx_note_fault(struct entry *entry, const char *call);

/* Opens the command's process as soon as the kernel has noted it. */
void ctx_adopt_child(struct entry *entry);

/* Whether a process ends within the time. */
bool ctx_has_ended(int pidfd, int milliseconds);

/* Reaps the helper's processes that stay outside. They end by themselves as soon as the command's process
 * exists. */
void ctx_reap_helpers(struct entry *entry, bool kill_first);

/* Ends whatever has not become the command, and the entry. */
void ctx_abort_entry(struct entry *entry);

/* Ends the entry: nothing more will be told of it. */
void ctx_close_entry(struct entry *entry);

/* Makes the metatable of entries. */
void ctx_make_entry_class(lua_State *L);

#endif
