/* For the specs of terminals and the relay: child processes with chosen streams, pseudo-terminals, and what a
 * process knows of its own signals and descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 32, NOT_FOUND = 127 };

int luaopen_processes(lua_State *L);

static int failed(lua_State *L, const char *call)
{
    return luaL_error(L, "%s: %s", call, strerror(errno));
}

/* openpty() -> master, slave: descriptors, close-on-exec */
static int openpty(lua_State *L)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[64];
    int slave;

    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 ||
        ptsname_r(master, name, sizeof(name)) != 0) {
        return failed(L, "posix_openpt");
    }
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        return failed(L, "open of a pseudo-terminal's slave");
    }
    lua_pushinteger(L, master);
    lua_pushinteger(L, slave);
    return 2;
}

/* In the child: a session of its own with the terminal in options.terminal, if there is one; no signal
 * blocked. */
static void begin_child(int terminal)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (terminal >= 0 && (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0)) {
        _exit(NOT_FOUND);
    }
}

/* start({argument...}, {stdin=, stdout=, stderr=, terminal=}) -> pid */
static int start(lua_State *L)
{
    static const char *const NAMES[] = {"stdin", "stdout", "stderr", "terminal"};
    char *arguments[MAX_ARGUMENTS + 1] = {NULL};
    int fds[4];
    pid_t pid;

    for (int i = 0; i < 4; i++) {
        lua_getfield(L, 2, NAMES[i]);
        fds[i] = (int)luaL_optinteger(L, -1, -1);
    }
    for (size_t i = 0; i < lua_rawlen(L, 1) && i < MAX_ARGUMENTS; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        arguments[i] = (char *)lua_tostring(L, -1);
    }
    pid = fork();
    if (pid < 0) {
        return failed(L, "fork");
    }
    if (pid == 0) {
        begin_child(fds[3]);
        for (int i = 0; i < 3; i++) {
            if (fds[i] >= 0) {
                dup2(fds[i], i);
            }
        }
        execvp(arguments[0], arguments);
        _exit(NOT_FOUND);
    }
    lua_pushinteger(L, pid);
    return 1;
}

/* run(function, terminal) -> pid of a child that calls the function and exits 0 if that gives a true value,
 * else 1 */
static int run(lua_State *L)
{
    int terminal = (int)luaL_optinteger(L, 2, -1);
    pid_t pid = fork();

    if (pid < 0) {
        return failed(L, "fork");
    }
    if (pid == 0) {
        begin_child(terminal);
        lua_pushvalue(L, 1);
        _exit(lua_pcall(L, 0, 1, 0) == LUA_OK && lua_toboolean(L, -1) ? 0 : 1);
    }
    lua_pushinteger(L, pid);
    return 1;
}

/* wait(pid) -> "exited", status | "killed", signal | "stopped", signal */
static int wait_for(lua_State *L)
{
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    int status;

    while (waitpid(pid, &status, WUNTRACED) < 0) {
        if (errno != EINTR) {
            return failed(L, "waitpid");
        }
    }
    if (WIFSTOPPED(status)) {
        lua_pushliteral(L, "stopped");
        lua_pushinteger(L, WSTOPSIG(status));
    } else if (WIFSIGNALED(status)) {
        lua_pushliteral(L, "killed");
        lua_pushinteger(L, WTERMSIG(status));
    } else {
        lua_pushliteral(L, "exited");
        lua_pushinteger(L, WEXITSTATUS(status));
    }
    return 2;
}

/* background(): puts the process into a process group of its own, which is not the terminal's foreground one
 */
static int background(lua_State *L)
{
    lua_pushboolean(L, setpgid(0, 0) == 0);
    return 1;
}

/* settings(fd) -> {input=, output=, control=, lines=} flags of a terminal */
static int settings(lua_State *L)
{
    struct termios termios;

    if (tcgetattr((int)luaL_checkinteger(L, 1), &termios) != 0) {
        return failed(L, "tcgetattr");
    }
    lua_newtable(L);
    lua_pushinteger(L, termios.c_iflag);
    lua_setfield(L, -2, "input");
    lua_pushinteger(L, termios.c_oflag);
    lua_setfield(L, -2, "output");
    lua_pushinteger(L, termios.c_cflag);
    lua_setfield(L, -2, "control");
    lua_pushinteger(L, termios.c_lflag);
    lua_setfield(L, -2, "lines");
    return 1;
}

static int is_nonblocking(lua_State *L)
{
    lua_pushboolean(L, (fcntl((int)luaL_checkinteger(L, 1), F_GETFL) & O_NONBLOCK) != 0);
    return 1;
}

/* block(signal...): blocks them in the calling thread */
static int block(lua_State *L)
{
    sigset_t set;

    sigemptyset(&set);
    for (int i = 1; i <= lua_gettop(L); i++) {
        sigaddset(&set, (int)luaL_checkinteger(L, i));
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    return 0;
}

static int push_set(lua_State *L, const sigset_t *set)
{
    lua_Integer count = 0;

    lua_newtable(L);
    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        if (sigismember(set, signal) == 1) {
            lua_pushinteger(L, signal);
            lua_rawseti(L, -2, ++count);
        }
    }
    return 1;
}

/* blocked(), pending() -> array of signal numbers */
static int blocked(lua_State *L)
{
    sigset_t set;

    sigprocmask(SIG_BLOCK, NULL, &set);
    return push_set(L, &set);
}

static int pending(lua_State *L)
{
    sigset_t set;

    sigpending(&set);
    return push_set(L, &set);
}

int luaopen_processes(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {
        {"background", background},
        {"block", block},
        {"blocked", blocked},
        {"is_nonblocking", is_nonblocking},
        {"openpty", openpty},
        {"pending", pending},
        {"run", run},
        {"settings", settings},
        {"start", start},
        {"wait", wait_for},
        {NULL, NULL},
    };

    luaL_newlib(L, FUNCTIONS);
    return 1;
}
