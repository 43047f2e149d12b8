/***
The process of a sandbox: the functions that the chunk is given there.

@module ctrexec.core.sandbox.child
@see ctrexec.core.sandbox
*/
#include "channel.h"
#include "core.h"
#include "fork.h"
#include "sandbox.h"
#include "value.h"

#include <lualib.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

struct budget {
    const struct ctx_sandbox_job *job;
    size_t used;
    size_t ceiling;
    size_t refused; /* size of the last refused request; Lua collects garbage and may ask again */
};

static void *limited_alloc(void *data, void *block, size_t old_size, size_t new_size)
{
    struct budget *budget = data;
    size_t old = block ? old_size : 0;
    if (new_size == 0) {
        free(block);
        budget->used -= old;
        return NULL;
    }
    if (new_size > old && budget->used - old + new_size > budget->ceiling) {
        budget->refused = new_size;
        return NULL;
    }
    void *moved = realloc(block, new_size);
    if (moved) {
        budget->used += new_size - old;
        budget->refused = new_size >= budget->refused ? 0 : budget->refused;
    }
    return moved;
}

static struct budget *budget_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Sets the timer that ends the process; 0 seconds stop it. */
static void set_timer(double seconds)
{
    const struct itimerval timer = {.it_value = ctx_timeval(seconds)};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

/***
Begins a unit: its time and its memory count from here.

@function begin
@int unit the number by which the parent names what it was doing when it is killed
*/
static int child_begin(lua_State *L)
{
    struct budget *budget = budget_of(L);
    budget->job->progress->unit = (int)luaL_checkinteger(L, 1);
    budget->refused = 0;
    budget->ceiling = budget->used + budget->job->memory_limit;
    set_timer(budget->job->time_limit);
    return 0;
}

/***
Ends a unit: its limits no longer hold.

@function finish
@treturn bool whether it ran out of memory, also if it caught the error
*/
static int child_finish(lua_State *L)
{
    struct budget *budget = budget_of(L);
    set_timer(0);
    budget->ceiling = SIZE_MAX;
    budget->job->progress->unit = 0;
    lua_pushboolean(L, budget->refused != 0);
    return 1;
}

/***
Sends a value to the parent. Ends the process when the parent is gone.

@function send
@param value nil, a boolean, number, string, or a table of such
@raise for a value that cannot be sent
*/
static int child_send(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    char room[CTX_PACKED_ROOM];
    size_t length = 0;
    const char *bytes = ctx_pack_into(L, 1, room, &length);
    if (!bytes) {
        return lua_error(L);
    }
    if (!ctx_send_packed(CTX_KEPT_FD, bytes, length)) {
        _exit(EXIT_SUCCESS);
    }
    return 0;
}

/***
Waits for a value from the parent. Ends the process when the parent is gone.

@function receive
@return the value
*/
static int child_receive(lua_State *L)
{
    if (!ctx_receive_packed(L, CTX_KEPT_FD)) {
        _exit(EXIT_SUCCESS);
    }
    return 1;
}

/***
Whether a value is as it was when it was packed, and nothing is hidden in it.

@function untouched
@param value
@string bytes what `pack` made of it then
@treturn bool false also when some table in it has a metatable or occurs twice, and perhaps when it was
changed and changed back
*/
static int child_untouched(lua_State *L)
{
    size_t length = 0;
    const char *bytes = luaL_checklstring(L, 2, &length);
    lua_pushboolean(L, ctx_untouched(L, 1, bytes, length));
    return 1;
}

static const luaL_Reg CHILD_FUNCTIONS[] = {
    {"begin", child_begin},         {"finish", child_finish},
    {"send", child_send},           {"receive", child_receive},
    {"pack", ctx_value_pack},       {"unpack", ctx_value_unpack},
    {"untouched", child_untouched}, {NULL, NULL},
};

/* Opens the libraries that a policy gets: not `package`, because the parent reads files and checks them, and
 * not `debug`. */
static void open_libraries(lua_State *L)
{
    static const luaL_Reg LIBRARIES[] = {
        {LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string}, {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},  {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_IOLIBNAME, luaopen_io},     {LUA_OSLIBNAME, luaopen_os},      {NULL, NULL},
    };
    for (const luaL_Reg *library = LIBRARIES; library->func; library++) {
        luaL_requiref(L, library->name, library->func, 1);
        lua_pop(L, 1);
    }
}

/* Runs protected: chunk(argument, functions). The collector does not run by itself: the chunk collects
 * garbage when the parent is not waiting for it, and Lua collects at the memory limit. */
static int run_chunk(lua_State *L)
{
    struct budget *budget = lua_touserdata(L, 1);
    const struct ctx_sandbox_job *job = budget->job;
    (void)lua_gc(L, LUA_GCSTOP);
    open_libraries(L);
    if (luaL_loadbufferx(L, job->chunk, job->chunk_length, "=sandbox", "bt") != LUA_OK) {
        return lua_error(L);
    }
    if (ctx_unpack(L, job->argument, job->argument_length) != 1) {
        return lua_error(L);
    }
    lua_newtable(L);
    lua_pushlightuserdata(L, budget);
    luaL_setfuncs(L, CHILD_FUNCTIONS, 1);
    lua_call(L, 2, 0);
    return 0;
}

_Noreturn void ctx_run_sandbox(void *job)
{
    struct budget budget = {.job = job, .ceiling = SIZE_MAX};
    (void)setpgid(0, 0);
    lua_State *state = lua_newstate(limited_alloc, &budget);
    if (!state) {
        _exit(EXIT_FAILURE);
    }
    lua_pushcfunction(state, run_chunk);
    lua_pushlightuserdata(state, &budget);
    /* No lua_close: a finalizer must not run once there is no timer. */
    _exit(lua_pcall(state, 1, 0, 0) == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}
