/***
Signals by name and number.

@module ctrexec.core.signal
@see signal(7)
*/
#include "core.h"

#include <signal.h>

/* Of two names of one signal, the first is the one that signal_name gives. */
static const struct ctx_named_number signals[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT},   {"ILL", SIGILL},   {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},     {"KILL", SIGKILL}, {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV},     {"USR2", SIGUSR2}, {"PIPE", SIGPIPE},   {"ALRM", SIGALRM}, {"TERM", SIGTERM},
    {"STKFLT", SIGSTKFLT}, {"CHLD", SIGCHLD}, {"CONT", SIGCONT},   {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN},     {"TTOU", SIGTTOU}, {"URG", SIGURG},     {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
    {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},     {"PWR", SIGPWR},
    {"SYS", SIGSYS},       {"IOT", SIGIOT},   {"CLD", SIGCHLD},    {"POLL", SIGPOLL},
};

enum { COUNT = sizeof(signals) / sizeof(*signals) };

/***
The name of a signal.
@function name
@int number
@treturn ?string as "TERM"; nil when the number has no name
@see signal(7)
*/
static int signal_name(lua_State *L)
{
    lua_Integer number = luaL_checkinteger(L, 1);
    for (size_t i = 0; i < COUNT; i++) {
        if (signals[i].number == number) {
            lua_pushstring(L, signals[i].name);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

/***
Signal numbers by name, as `numbers.TERM`: the standard ones, RTMIN and RTMAX. Another name gives nil.
@table numbers
@see signal(7)
*/
static void push_numbers(lua_State *L)
{
    ctx_push_numbers(L, signals, COUNT, NULL);
    ctx_set_integer(L, "RTMIN", SIGRTMIN);
    ctx_set_integer(L, "RTMAX", SIGRTMAX);
}

int ctx_open_signal(lua_State *L)
{
    static const luaL_Reg functions[] = {{"name", signal_name}, {NULL, NULL}};
    luaL_newlib(L, functions);
    push_numbers(L);
    lua_setfield(L, -2, "numbers");
    return 1;
}
