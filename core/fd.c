/***
Descriptors that Lua owns, and the plain calls on descriptors.

A descriptor object is closed by `:close()`, by leaving the scope of a `<close>` variable or by the collector,
whichever is first, and is always close-on-exec. Every function of the core that takes a descriptor takes an
object or an integer.

@module ctrexec.core.fd
*/
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_MAX = 1 << 20,
    FIRST_NON_STANDARD = 3,
};

int *ctx_new_fd(lua_State *L)
{
    int *box = lua_newuserdatauv(L, sizeof(*box), 0);
    *box = -1;
    luaL_setmetatable(L, CTX_FD);
    return box;
}

static int new_fd(lua_State *L)
{
    ctx_new_fd(L);
    return 1;
}

void ctx_push_fd(lua_State *L, int fd)
{
    lua_pushcfunction(L, new_fd);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        close(fd);
        lua_error(L);
    }
    *(int *)lua_touserdata(L, -1) = fd;
}

int ctx_to_fd(lua_State *L, int index)
{
    const int *box = luaL_testudata(L, index, CTX_FD);
    int is_integer = 0;
    if (box != NULL) {
        return *box;
    }
    lua_Integer number = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &is_integer) : -1;
    return number >= 0 && number <= INT_MAX && is_integer ? (int)number : -1;
}

int ctx_check_fd(lua_State *L, int arg)
{
    int fd = ctx_to_fd(L, arg);
    if (fd < 0) {
        bool closed = luaL_testudata(L, arg, CTX_FD) != NULL;
        luaL_argerror(L, arg, closed ? "closed descriptor" : "descriptor expected");
    }
    return fd;
}

int ctx_opt_fd(lua_State *L, int arg)
{
    return lua_isnoneornil(L, arg) ? -1 : ctx_check_fd(L, arg);
}

int ctx_release_fd(lua_State *L, int arg)
{
    int *box = luaL_checkudata(L, arg, CTX_FD);
    int fd = *box;
    luaL_argcheck(L, fd >= 0, arg, "closed descriptor");
    *box = -1;
    return fd;
}

/***
The number of a descriptor object.
@function fd:fd
@treturn int the number; -1 once closed
*/
static int fd_number(lua_State *L)
{
    const int *box = luaL_checkudata(L, 1, CTX_FD);
    lua_pushinteger(L, *box);
    return 1;
}

/***
Closes a descriptor object. Closing it again does nothing.
@function fd:close
@treturn bool true
@see close(2)
*/
static int fd_close(lua_State *L)
{
    int *box = luaL_checkudata(L, 1, CTX_FD);
    if (*box >= 0) {
        /* Linux frees the number even when close(2) fails: a second try could close a descriptor that another
         * thread has opened since. */
        close(*box);
        *box = -1;
    }
    return ctx_ok(L);
}

static int fd_tostring(lua_State *L)
{
    const int *box = luaL_checkudata(L, 1, CTX_FD);
    if (*box < 0) {
        lua_pushliteral(L, "fd (closed)");
    } else {
        lua_pushfstring(L, "fd (%d)", *box);
    }
    return 1;
}

/***
Takes ownership of an open descriptor and makes it close-on-exec.
@function wrap
@int number an open descriptor that nothing else closes
@treturn[1] fd the object that owns it
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EBADF when it is not open
@see fcntl(2)
*/
static int wrap(lua_State *L)
{
    int number = ctx_check_fd(L, 1);
    luaL_argcheck(L, !lua_isuserdata(L, 1), 1, "integer expected");
    if (fcntl(number, F_SETFD, FD_CLOEXEC) < 0) {
        return ctx_error(L, errno, "descriptor %d", number);
    }
    *ctx_new_fd(L) = number;
    return 1;
}

/***
Duplicates a descriptor, never onto a standard stream's number.
@function dup
@tparam int|fd fd the descriptor
@treturn[1] fd the copy, close-on-exec
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see fcntl(2)
*/
static int duplicate(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    int *copy = ctx_new_fd(L);
    *copy = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_NON_STANDARD);
    return *copy < 0 ? ctx_error(L, errno, "duplicate descriptor %d", fd) : 1;
}

/***
Says whether a descriptor is open.
@function is_open
@tparam int|fd fd the descriptor
@treturn bool
@see fcntl(2)
*/
static int is_open(lua_State *L)
{
    lua_pushboolean(L, fcntl(ctx_check_fd(L, 1), F_GETFD) >= 0);
    return 1;
}

/***
Says whether a descriptor is closed by execve.
@function cloexec
@tparam int|fd fd the descriptor
@treturn[1] bool
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see fcntl(2)
*/
static int cloexec(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0) {
        return ctx_error(L, errno, "descriptor %d", fd);
    }
    lua_pushboolean(L, flags & FD_CLOEXEC);
    return 1;
}

/***
Makes a pipe.
@function pipe
@treturn[1] fd the end to read from
@treturn[1] fd the end to write to
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see pipe(2)
*/
static int make_pipe(lua_State *L)
{
    int *reader = ctx_new_fd(L);
    int *writer = ctx_new_fd(L);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return ctx_error(L, errno, "pipe");
    }
    *reader = ends[0];
    *writer = ends[1];
    return 2;
}

/***
Makes a pair of connected AF_UNIX stream sockets.
@function socketpair
@treturn[1] fd one end
@treturn[1] fd the other end
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see socketpair(2)
*/
static int make_socketpair(lua_State *L)
{
    int *left = ctx_new_fd(L);
    int *right = ctx_new_fd(L);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        return ctx_error(L, errno, "socketpair");
    }
    *left = ends[0];
    *right = ends[1];
    return 2;
}

/* The size of the buffer for a read: as much as is there to read, so that a large `max` does not allocate
 * memory that is garbage at once. */
static size_t room_for(int fd, size_t max)
{
    int available = 0;
    if (max <= LUAL_BUFFERSIZE || ioctl(fd, FIONREAD, &available) < 0 || available < 0) {
        return max;
    }
    if ((size_t)available < LUAL_BUFFERSIZE) {
        return LUAL_BUFFERSIZE;
    }
    return (size_t)available < max ? (size_t)available : max;
}

/* A string of what one read(2) gives, or one pread(2) from `offset` unless that is negative. */
static int push_read(lua_State *L, int fd, size_t size, off_t offset)
{
    luaL_Buffer data;
    char *room = luaL_buffinitsize(L, &data, size);
    ssize_t count = 0;
    do {
        count = offset < 0 ? ctx_read(fd, room, size) : pread(fd, room, size, offset);
    } while (count < 0 && errno == EINTR);
    int error = errno;
    luaL_pushresultsize(&data, count > 0 ? (size_t)count : 0);
    return count < 0 ? ctx_error(L, error, "read descriptor %d", fd) : 1;
}

/***
Reads once. EINTR is retried.
@function read
@tparam int|fd fd the descriptor
@int max how many bytes at most; a single call gives at most 1 MiB
@treturn[1] string the bytes; "" at the end of the file
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EAGAIN when nothing is there and the descriptor is non-blocking
@see read(2)
*/
static int read_once(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    lua_Integer max = luaL_checkinteger(L, 2);
    luaL_argcheck(L, max > 0, 2, "must be positive");
    return push_read(L, fd, room_for(fd, max < READ_MAX ? (size_t)max : READ_MAX), -1);
}

/***
Writes once. EINTR is retried, and no SIGPIPE is raised.
@function write
@tparam int|fd fd the descriptor
@string data the bytes
@treturn[1] int how many were written; fewer than given on a full pipe or socket
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: EPIPE when there is no reader
@see write(2)
*/
static int write_once(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    size_t length = 0;
    const char *data = luaL_checklstring(L, 2, &length);
    ssize_t count = ctx_write(fd, data, length);
    if (count < 0) {
        return ctx_error(L, errno, "write descriptor %d", fd);
    }
    lua_pushinteger(L, count);
    return 1;
}

/***
Reads once from a place of a file. EINTR is retried.
@function read_at
@tparam int|fd fd the descriptor
@int offset from the start of the file
@int max how many bytes at most; a single call gives at most 1 MiB
@treturn[1] string the bytes; "" at the end of the file
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see pread(2)
*/
static int read_at(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    lua_Integer offset = luaL_checkinteger(L, 2);
    lua_Integer max = luaL_checkinteger(L, 3);
    luaL_argcheck(L, offset >= 0, 2, "must not be negative");
    luaL_argcheck(L, max > 0, 3, "must be positive");
    return push_read(L, fd, max < READ_MAX ? (size_t)max : READ_MAX, (off_t)offset);
}

/***
Where in the file the next read begins, or where the last write ended; this holds for an appending write too,
even while other processes append.
@function offset
@tparam int|fd fd the descriptor
@treturn[1] int bytes from the start of the file
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno: ESPIPE when it is no file
@see lseek(2)
*/
static int tell_offset(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    off_t place = lseek(fd, 0, SEEK_CUR);
    if (place < 0) {
        return ctx_error(L, errno, "descriptor %d", fd);
    }
    lua_pushinteger(L, place);
    return 1;
}

/***
Sets or clears O_NONBLOCK, for every process that shares the open file.
@function set_nonblock
@tparam int|fd fd the descriptor
@bool on
@treturn[1] bool true
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno
@see fcntl(2)
*/
static int set_nonblock(lua_State *L)
{
    int fd = ctx_check_fd(L, 1);
    int flags = fcntl(fd, F_GETFL);
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    if (flags >= 0) {
        flags = lua_toboolean(L, 2) ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
        flags = fcntl(fd, F_SETFL, flags);
    }
    return flags < 0 ? ctx_error(L, errno, "descriptor %d", fd) : ctx_ok(L);
}

static void create_metatable(lua_State *L)
{
    static const luaL_Reg methods[] = {{"fd", fd_number}, {"close", fd_close}, {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__close", fd_close}, {"__gc", fd_close}, {"__tostring", fd_tostring}, {NULL, NULL}};
    if (luaL_newmetatable(L, CTX_FD)) {
        luaL_setfuncs(L, metamethods, 0);
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}

int ctx_open_fd(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"wrap", wrap},
        {"dup", duplicate},
        {"is_open", is_open},
        {"cloexec", cloexec},
        {"pipe", make_pipe},
        {"socketpair", make_socketpair},
        {"read", read_once},
        {"read_at", read_at},
        {"write", write_once},
        {"offset", tell_offset},
        {"set_nonblock", set_nonblock},
        {NULL, NULL},
    };
    create_metatable(L);
    luaL_newlib(L, functions);
    return 1;
}
