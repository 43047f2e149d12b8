/***
The loop of a foreground exec: copies streams, forwards signals, follows the window size, watches the process
and the deadline, all in the calling thread.

@module ctrexec.core.relay
*/
#include "relay.h"
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A deadline of so many seconds or more counts as none. */
#define DEADLINE_MAX 1e9

/* All that may raise an error is done before anything is changed. */

static struct end *find_end(struct relay *relay, int fd)
{
    for (size_t i = 0; i < relay->end_count; i++) {
        if (relay->ends[i].given == fd) {
            return &relay->ends[i];
        }
    }
    return NULL;
}

/* The descriptor in table[key], which must be there. */
static struct end *check_end(lua_State *L, struct relay *relay, int table, const char *key)
{
    lua_getfield(L, table, key);
    int fd = ctx_to_fd(L, -1);
    if (fd < 0) {
        luaL_error(L, "copies: %s: descriptor expected, got %s", key, luaL_typename(L, -1));
    }
    struct end *end = find_end(relay, fd);
    if (end == NULL) {
        end = &relay->ends[relay->end_count++];
        end->given = fd;
    }
    if (end->box == NULL) {
        end->box = luaL_testudata(L, -1, CTX_FD);
    }
    lua_pop(L, 1);
    return end;
}

/* Loads the data that an earlier run, cut short by its deadline, could not deliver. */
static void load_pending(lua_State *L, int table, struct copy *copy)
{
    size_t size = 0;
    lua_getfield(L, table, "pending");
    const char *data = lua_tolstring(L, -1, &size);
    if (size > BUFFER_SIZE) {
        luaL_error(L, "copies: pending: longer than %d bytes", BUFFER_SIZE);
    }
    if (size > 0) {
        memcpy(copy->buffer, data, size);
        copy->end = size;
        copy->waits_for_room = true;
    }
    lua_pop(L, 1);
}

/* Reads copies[n]; leaves its buffer on the stack. */
static void check_copy(lua_State *L, struct relay *relay, int copies, lua_Integer n)
{
    struct copy *copy = &relay->copies[relay->copy_count++];
    copy->buffer = lua_newuserdatauv(L, BUFFER_SIZE, 0);
    lua_rawgeti(L, copies, n);
    int table = lua_gettop(L);
    if (!lua_istable(L, table)) {
        luaL_error(L, "copies: table expected, got %s", luaL_typename(L, table));
    }
    copy->from = check_end(L, relay, table, "from");
    copy->to = check_end(L, relay, table, "to");
    lua_getfield(L, table, "input");
    copy->input = lua_toboolean(L, -1);
    lua_pop(L, 1);
    load_pending(L, table, copy);
    lua_pop(L, 1);
}

static void check_copies(lua_State *L, struct relay *relay)
{
    if (lua_getfield(L, 1, "copies") == LUA_TNIL) {
        return;
    }
    luaL_argcheck(L, lua_istable(L, -1), 1, "copies: table expected");
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    luaL_argcheck(L, count <= MAX_COPIES, 1, "copies: more than 8");
    luaL_checkstack(L, MAX_COPIES + LUA_MINSTACK, "copies");
    for (lua_Integer n = 1; n <= count; n++) {
        check_copy(L, relay, 2, n);
    }
}

static int opt_descriptor(lua_State *L, const char *key)
{
    int fd = -1;
    if (lua_getfield(L, 1, key) != LUA_TNIL) {
        fd = ctx_to_fd(L, -1);
        if (fd < 0) {
            luaL_error(L, "%s: descriptor expected, got %s", key, luaL_typename(L, -1));
        }
    }
    lua_pop(L, 1);
    return fd;
}

static void check_deadline(lua_State *L, struct relay *relay)
{
    if (lua_getfield(L, 1, "deadline") != LUA_TNIL) {
        lua_Number seconds = lua_tonumber(L, -1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TNUMBER && seconds >= 0, 1, "deadline: number >= 0 expected");
        if (seconds < DEADLINE_MAX) {
            struct timespec *deadline = &relay->deadline;
            clock_gettime(CLOCK_MONOTONIC, deadline);
            deadline->tv_sec += (time_t)seconds;
            deadline->tv_nsec += (long)((seconds - (lua_Number)(time_t)seconds) * NANOSECONDS);
            if (deadline->tv_nsec >= NANOSECONDS) {
                deadline->tv_sec++;
                deadline->tv_nsec -= NANOSECONDS;
            }
            relay->has_deadline = true;
        }
    }
    lua_pop(L, 1);
}

/* Says which stream each copy is for the recorder: of two copies of output, the second is the command's
 * stderr. */
static void check_recorder(lua_State *L, struct relay *relay)
{
    enum ctx_stream output = CTX_STREAM_OUTPUT;
    if (lua_getfield(L, 1, "recorder") != LUA_TNIL) {
        relay->recorder = ctx_check_recorder(L, -1);
    }
    lua_pop(L, 1);
    for (size_t i = 0; i < relay->copy_count; i++) {
        if (relay->copies[i].input) {
            relay->copies[i].stream = CTX_STREAM_INPUT;
        } else {
            relay->copies[i].stream = output;
            output = CTX_STREAM_ERROR;
        }
    }
}

static void check_options(lua_State *L, struct relay *relay)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    check_copies(L, relay);
    relay->signalfd = -1;
    relay->pidfd = opt_descriptor(L, "pidfd");
    luaL_argcheck(L, relay->pidfd >= 0, 1, "pidfd: descriptor expected");
    relay->terminal = opt_descriptor(L, "terminal");
    int master = opt_descriptor(L, "master");
    relay->master = find_end(relay, master);
    luaL_argcheck(L, master < 0 || relay->master != NULL, 1, "master: not in any copy");
    lua_getfield(L, 1, "signals");
    relay->forwards_signals = lua_toboolean(L, -1);
    lua_pop(L, 1);
    check_recorder(L, relay);
    check_deadline(L, relay);
}

static void prepare_all(struct relay *relay)
{
    for (size_t i = 0; i < relay->end_count; i++) {
        ctx_prepare_end(&relay->ends[i]);
    }
    for (size_t i = 0; i < relay->copy_count; i++) {
        struct copy *copy = &relay->copies[i];
        copy->spliced = relay->recorder == NULL && copy->end == 0 && ctx_can_splice(copy);
    }
    relay->has_raw_settings = relay->terminal >= 0 && tcgetattr(relay->terminal, &relay->raw_settings) == 0;
}

/* Stores the data that could not be delivered, for the next run to load. */
static void store_pending(lua_State *L, const struct relay *relay)
{
    if (relay->copy_count == 0) {
        return;
    }
    lua_getfield(L, 1, "copies");
    for (size_t i = 0; i < relay->copy_count; i++) {
        const struct copy *copy = &relay->copies[i];
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (copy->end > 0 && !copy->done) {
            lua_pushlstring(L, copy->buffer + copy->start, copy->end - copy->start);
        } else {
            lua_pushnil(L);
        }
        lua_setfield(L, -2, "pending");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/***
Runs the loop until the process has ended and what it wrote has been copied, or until the deadline.

Options:

- `pidfd`: descriptor of the process (pidfd_open(2)). It is not waited for; `core.pidfd.wait` has its status.
- `copies`: array of at most 8 tables `{from=, to=, input=}`, one direction each. Without `input` it is output
of the command: copied to its end or, after the process has ended, for as much as the process can have left (a
background process that keeps the stream open does not delay the return). If its `to` takes no more, `from` is
closed, so that the command notices. With `input = true` it is for the command: dropped when the process ends;
at the end of `from`, `to` is closed, unless it is a pseudo-terminal. Give an fd object for what may be
closed: it is then closed as by `:close()`.
- `master`, `terminal`: the master of the command's pseudo-terminal (also in `copies`) and the caller's
terminal. The master gets the terminal's window size at the start and, with `signals`, at each SIGWINCH.
SIGCONT gives the terminal the settings again that it had at the start.
- `signals`: when true, all signals but SIGKILL, SIGSTOP, SIGCHLD, SIGURG, SIGPIPE, SIGTTIN and SIGTTOU are
blocked in the calling thread, read by signalfd(2) and, except SIGWINCH, sent to the process; a caller that
blocks them earlier loses none. The thread's mask is restored before the return. Without it no signal is
touched but SIGPIPE, which a write here never raises.
- `recorder`: of `core.recorder`, given what the streams carry and the terminal's sizes.
- `deadline`: seconds from now, a number. Data that was read but not delivered by then is put into
`copies[i].pending`, where another call with the same table finds it.

@function run
@tparam table options
@treturn[1] bool true: the process has ended
@treturn[2] table `{timeout = true}`: the deadline has passed, nothing was done to the process
@return[3] nil
@treturn[3] string error message
@treturn[3] int errno: EBADF for a pidfd that is not open; that of a failed write of a recording that is
required. A stream that is not open is one that has ended.
*/
static int run(lua_State *L)
{
    struct relay relay = {0};
    check_options(L, &relay);
    if (fcntl(relay.pidfd, F_GETFD) < 0) {
        return ctx_error(L, errno, "relay: pidfd %d", relay.pidfd);
    }
    prepare_all(&relay);
    int error = ctx_run_relay(&relay);
    for (size_t i = 0; i < relay.end_count; i++) {
        ctx_put_back_end(&relay.ends[i]);
    }
    store_pending(L, &relay);
    if (error != 0 && error != ETIME) {
        return ctx_error(L, error, "relay");
    }
    if (error == 0) {
        return ctx_ok(L);
    }
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, true);
    lua_setfield(L, -2, "timeout");
    return 1;
}

/***
Blocks the signals that `run` forwards, in the calling thread: one that comes after this and before `run` is
then forwarded, too. For a program that does nothing but run one command; the mask stays as it is from here
on.

@function block_signals
@treturn bool true
@see sigprocmask(2)
*/
static int block_signals(lua_State *L)
{
    sigset_t signals;
    ctx_forwarded_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    return ctx_ok(L);
}

int ctx_open_relay(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {
        {"block_signals", block_signals},
        {"run", run},
        {NULL, NULL},
    };
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
