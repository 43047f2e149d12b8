/***
Waiting for descriptors.

@module ctrexec.core.poll
@see poll(2)
*/
#include "core.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>

static bool field_is_true(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    bool set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

/* Fills the entry from the table on top of the stack. */
static void read_entry(lua_State *L, struct pollfd *entry)
{
    luaL_argcheck(L, lua_istable(L, -1), 1, "array of tables expected");
    lua_getfield(L, -1, "fd");
    entry->fd = ctx_to_fd(L, -1);
    luaL_argcheck(L, entry->fd >= 0, 1, "open descriptor expected in field 'fd'");
    lua_pop(L, 1);
    entry->events =
        (short)((field_is_true(L, "read") ? POLLIN : 0) | (field_is_true(L, "write") ? POLLOUT : 0));
}

static struct pollfd *read_entries(lua_State *L, size_t *count)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    *count = lua_rawlen(L, 1);
    struct pollfd *entries = lua_newuserdatauv(L, *count * sizeof(*entries), 0);
    for (size_t i = 0; i < *count; i++) {
        lua_geti(L, 1, (lua_Integer)i + 1);
        read_entry(L, &entries[i]);
        lua_pop(L, 1);
    }
    return entries;
}

static void push_events(lua_State *L, const struct pollfd *entries, size_t count)
{
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 4);
        ctx_set_boolean(L, "read", entries[i].revents & POLLIN);
        ctx_set_boolean(L, "write", entries[i].revents & POLLOUT);
        ctx_set_boolean(L, "hangup", entries[i].revents & POLLHUP);
        ctx_set_boolean(L, "error", entries[i].revents & (POLLERR | POLLNVAL));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Milliseconds, rounded up so that a caller who waits for a deadline does not spin before it; -1 for nil: no
 * limit. */
static int check_timeout(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg)) {
        return -1;
    }
    lua_Number timeout = luaL_checknumber(L, arg);
    if (!(timeout > 0)) {
        return 0;
    }
    int whole = timeout < INT_MAX ? (int)timeout : INT_MAX;
    return whole < timeout && whole < INT_MAX ? whole + 1 : whole;
}

/***
Waits until one of some descriptors is ready. A pidfd becomes readable when its process ends.
@function wait
@tparam table entries array of tables: `fd` (int or fd), `read` and `write` (booleans)
@number[opt] timeout milliseconds; none waits without limit, zero or less does not wait
@treturn[1] table array in the order given of tables of booleans: `read`, `write`, `hangup`, `error`
@treturn[2] bool false: the time is over
@return[3] nil
@treturn[3] string error message
@treturn[3] int errno: EINTR when a signal handler of the host program ran
@see poll(2)
*/
static int wait_ready(lua_State *L)
{
    int timeout = check_timeout(L, 2);
    size_t count = 0;
    struct pollfd *entries = read_entries(L, &count);
    int ready = poll(entries, count, timeout);
    if (ready < 0) {
        return ctx_error(L, errno, "poll");
    }
    if (ready == 0) {
        lua_pushboolean(L, 0);
    } else {
        push_events(L, entries, count);
    }
    return 1;
}

int ctx_open_poll(lua_State *L)
{
    static const luaL_Reg functions[] = {{"wait", wait_ready}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
