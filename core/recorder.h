/* What the relay shares with the recorder binding. */
#ifndef CTREXEC_RECORDER_H
#define CTREXEC_RECORDER_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum ctx_stream { CTX_STREAM_INPUT, CTX_STREAM_OUTPUT, CTX_STREAM_ERROR, CTX_STREAM_COUNT };

struct ctx_recorder;

/* The recorder at `index`; raises an error for anything else. */
struct ctx_recorder *ctx_check_recorder(lua_State *L, int index);

/* Records what a stream carried, with the time now. Does not fail: see ctx_recorder_tick. */
void ctx_record(struct ctx_recorder *recorder, enum ctx_stream stream, const void *data, size_t size);

/* Records the window size of a terminal if it is not the last recorded one. */
void ctx_record_window(struct ctx_recorder *recorder, int terminal);

/* Whether input is to be recorded: when it was asked for, and while the terminal (or -1 where there is none)
 * echoes it, or echo does not matter. */
bool ctx_records_input(const struct ctx_recorder *recorder, int terminal);

/* Writes what has waited for long enough. `*left` is lowered to the time after which this must be called
 * again, and `*limited` set, if that is sooner. Returns 0, or the errno of a failed write of a recording that
 * must not be incomplete. */
int ctx_recorder_tick(struct ctx_recorder *recorder, struct timespec *left, bool *limited);

#endif
