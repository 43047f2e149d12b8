/***
Terminals: what a descriptor is, window sizes, raw mode.

No function installs a signal handler. See termios(3), ioctl_tty(2), pts(4).

@module ctrexec.core.terminal
*/
#include "terminal.h"

#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

/* The metatable name of the saved state of a terminal in raw mode. */
#define SAVED_STATE "ctrexec.terminal"

enum {
    PTMX_MAJOR = 5,
    PTMX_MINOR = 2,
};

/* `fd` is a duplicate: the number that the caller gave may be closed, or name another file, when the settings
 * are restored. -1 once restored. */
struct saved_state {
    int fd;
    struct termios settings;
};

bool ctx_is_pty_master(int fd)
{
    struct stat status;
    unsigned number = 0;
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && major(status.st_rdev) == PTMX_MAJOR &&
           minor(status.st_rdev) == PTMX_MINOR && ioctl(fd, TIOCGPTN, &number) == 0;
}

int ctx_copy_window_size(int terminal, int master)
{
    struct winsize window;
    if (ioctl(terminal, TIOCGWINSZ, &window) != 0) {
        return -1;
    }
    return ioctl(master, TIOCSWINSZ, &window);
}

/***
Whether a descriptor is a terminal (either side of a pseudo-terminal, or a line).

@function is_terminal
@tparam int|fd fd
@treturn bool false also for a descriptor that is not open
*/
static int is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty(ctx_check_fd(L, 1)));
    return 1;
}

/***
Whether a descriptor is the master side of a pseudo-terminal: character device 5:2 that answers `TIOCGPTN`
(pts(4)).

@function is_pty_master
@tparam int|fd fd
@treturn bool false also for a descriptor that is not open
*/
static int is_pty_master(lua_State *L)
{
    lua_pushboolean(L, ctx_is_pty_master(ctx_check_fd(L, 1)));
    return 1;
}

/***
The window size of a terminal (`TIOCGWINSZ`).

@function size
@tparam int|fd fd
@treturn[1] int rows
@treturn[1] int columns
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOTTY for what is no terminal
*/
static int size(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    struct winsize window;
    if (ioctl(fd, TIOCGWINSZ, &window) != 0) {
        return ctx_error(L, errno, "get window size of descriptor %d", fd);
    }
    lua_pushinteger(L, window.ws_row);
    lua_pushinteger(L, window.ws_col);
    return 2;
}

/***
Sets the window size of a terminal (`TIOCSWINSZ`); its foreground process group gets SIGWINCH if it changed.

@function set_size
@tparam int|fd fd
@tparam int rows 0 to 65535
@tparam int columns 0 to 65535
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOTTY for what is no terminal
*/
static int set_size(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    lua_Integer rows = luaL_checkinteger(L, 2);
    lua_Integer columns = luaL_checkinteger(L, 3);
    struct winsize window = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    luaL_argcheck(L, rows >= 0 && rows <= USHRT_MAX, 2, "not in 0 to 65535");
    luaL_argcheck(L, columns >= 0 && columns <= USHRT_MAX, 3, "not in 0 to 65535");
    if (ioctl(fd, TIOCSWINSZ, &window) != 0) {
        return ctx_error(L, errno, "set window size of descriptor %d", fd);
    }
    return ctx_ok(L);
}

/* A process in the background is stopped by SIGTTOU when it changes its terminal; with the signal blocked the
 * change goes through. Restoring must work from there: the user's shell is waiting for its terminal. */
static int restore_settings(struct saved_state *saved)
{
    if (saved->fd < 0) {
        return 0;
    }
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTTOU);
    sigset_t old;
    pthread_sigmask(SIG_BLOCK, &blocked, &old);
    int result = 0;
    do {
        result = tcsetattr(saved->fd, TCSANOW, &saved->settings);
    } while (result != 0 && errno == EINTR);
    result = result == 0 ? 0 : errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(saved->fd);
    saved->fd = -1;
    return result;
}

/***
Puts a terminal into raw mode: every key is passed on as it is, nothing is echoed.

Output processing stays as it was, as with runc: a line that the host program writes meanwhile still starts at
the left margin; for output that comes through a pseudo-terminal see @{pass_newlines}. A process in the
background is stopped by SIGTTOU until it is brought to the foreground, as every interactive program is.

@function raw
@tparam int|fd fd
@treturn[1] state the settings before, for @{restore}; also restored when collected or closed
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOTTY for what is no terminal
*/
static int raw(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    struct saved_state *saved = lua_newuserdatauv(L, sizeof(*saved), 0);
    saved->fd = -1;
    luaL_setmetatable(L, SAVED_STATE);
    struct termios settings;
    if (tcgetattr(fd, &saved->settings) != 0) {
        return ctx_error(L, errno, "get settings of terminal %d", fd);
    }
    settings = saved->settings;
    cfmakeraw(&settings);
    settings.c_oflag = saved->settings.c_oflag;
    saved->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (saved->fd < 0) {
        return ctx_error(L, errno, "duplicate descriptor %d", fd);
    }
    if (tcsetattr(fd, TCSANOW, &settings) != 0) {
        int error = errno;
        restore_settings(saved);
        return ctx_error(L, error, "set terminal %d to raw mode", fd);
    }
    return 1;
}

/***
Gives a terminal its settings from before @{raw} back, from the background too. The first call does it, others
do nothing.

@function restore
@tparam state state from @{raw}
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EIO when the terminal is gone
*/
static int restore(lua_State *L)
{
    int error = restore_settings(luaL_checkudata(L, 1, SAVED_STATE));
    return error == 0 ? ctx_ok(L) : ctx_error(L, error, "restore terminal settings");
}

static int collect(lua_State *L)
{
    restore_settings(luaL_checkudata(L, 1, SAVED_STATE));
    return 0;
}

/***
Makes a pseudo-terminal pass newlines as they are, not as return plus newline (`ONLCR` off, as runc does for
the terminals that it relays itself): the terminal at the other end, whose output processing @{raw} leaves on,
adds the return.

@function pass_newlines
@tparam int|fd fd either side of the pseudo-terminal
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENOTTY for what is no terminal
*/
static int pass_newlines(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    struct termios settings;
    if (tcgetattr(fd, &settings) != 0) {
        return ctx_error(L, errno, "get settings of terminal %d", fd);
    }
    settings.c_oflag &= ~(tcflag_t)ONLCR;
    if (tcsetattr(fd, TCSANOW, &settings) != 0) {
        return ctx_error(L, errno, "set output mode of terminal %d", fd);
    }
    return ctx_ok(L);
}

/***
Opens the controlling terminal of the process, /dev/tty (tty(4)).

@function open_controlling
@treturn[1] fd
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ENXIO without a controlling terminal
*/
static int open_controlling(lua_State *L)
{
    int *fd = ctx_new_fd(L);
    *fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    return *fd >= 0 ? 1 : ctx_error(L, errno, "open /dev/tty");
}

int ctx_open_terminal(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {
        {"is_terminal", is_terminal},
        {"is_pty_master", is_pty_master},
        {"open_controlling", open_controlling},
        {"pass_newlines", pass_newlines},
        {"raw", raw},
        {"restore", restore},
        {"set_size", set_size},
        {"size", size},
        {NULL, NULL},
    };
    static const luaL_Reg STATE_METHODS[] = {
        {"__close", collect},
        {"__gc", collect},
        {NULL, NULL},
    };
    luaL_newmetatable(L, SAVED_STATE);
    luaL_setfuncs(L, STATE_METHODS, 0);
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
