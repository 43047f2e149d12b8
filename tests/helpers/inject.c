/* For tests/faults: runs a program and all that it starts under ptrace(2), writes down the system calls, and
 * makes one of them fail.
 *
 * A process is identified by its number in the order in which the processes begin: 0 is the program. A call
 * is identified by its process, its name and how many calls of that name the process has made, so that calls
 * whose number depends on the time (those of a loop around poll(2)) do not renumber others. A process is let
 * go when it becomes the command (its first execve), and when it exits: a process that waits for it must not
 * have to wait for the tracer first. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/ptrace.h>

enum { MAX_PROCESSES = 16, MAX_CALLS = 1024, MAX_ARGUMENTS = 64, MAX_TEXT = 256, NOT_FOUND = 127 };

int luaopen_inject(lua_State *L);

struct process {
    pid_t pid;
    int pidfd; /* -1 for a thread */
    bool traced, command, thread;
    long call;         /* the call that it is in */
    int error;         /* the errno that the call is to fail with; 0: none */
    uint64_t argument; /* the value that its first argument gets back; 0: it was not changed */
    int record;        /* its index in the result's `calls`; 0: none */
    int counts[MAX_CALLS];
};

struct run {
    lua_State *L;
    int calls; /* index of the table of recorded calls; 0: not wanted */
    int count;
    struct process processes[MAX_PROCESSES];
    int process_count;
    int target, call, ordinal, error; /* what is to fail; target -1: nothing */
    const char *mark;                 /* text of the call of the program from which on calls are counted */
    bool injected, ended;
    int status;
};

/* ---- Looking at a call ---- */

/* Which argument of a call tells it from others of the same name, and whether that is a string. */
static const struct telling {
    int call, argument;
    bool text;
} tellings[] = {
    {SYS_openat, 1, true},        {SYS_openat2, 1, true},    {SYS_memfd_create, 0, true},
    {SYS_execve, 0, true},        {SYS_execveat, 1, true},   {SYS_chdir, 0, true},
    {SYS_newfstatat, 1, true},    {SYS_readlinkat, 1, true}, {SYS_mkdirat, 1, true},
    {SYS_unlinkat, 1, true},      {SYS_renameat2, 3, true},  {SYS_mount, 1, true},
    {SYS_umount2, 0, true},       {SYS_open_tree, 1, true},  {SYS_symlinkat, 2, true},
    {SYS_prctl, 0, false},        {SYS_ioctl, 1, false},     {SYS_fcntl, 1, false},
    {SYS_rt_sigaction, 0, false}, {SYS_keyctl, 0, false},    {SYS_seccomp, 0, false},
    {SYS_prlimit64, 1, false},    {SYS_close, 0, false},     {SYS_write, 0, false},
    {SYS_read, 0, false},         {SYS_fchown, 0, false},
#ifdef SYS_open
    {SYS_open, 0, true},          {SYS_stat, 0, true},       {SYS_lstat, 0, true},
    {SYS_access, 0, true},        {SYS_readlink, 0, true},   {SYS_mkdir, 0, true},
    {SYS_rmdir, 0, true},         {SYS_unlink, 0, true},     {SYS_rename, 1, true},
    {SYS_setrlimit, 0, false},    {SYS_getrlimit, 0, false}, {SYS_dup2, 1, false},
    {SYS_mknodat, 1, true},
#endif
};

/* The text at an address of a stopped process, as far as it can be read. */
static void read_text(pid_t pid, uint64_t address, char *text)
{
    size_t size = 0;
    while (size + sizeof(long) < MAX_TEXT) {
        errno = 0;
        long word = ptrace(PTRACE_PEEKDATA, pid, address + size, NULL);
        if (errno != 0) {
            break;
        }
        memcpy(text + size, &word, sizeof(word));
        if (memchr(&word, 0, sizeof(word)) != NULL) {
            return;
        }
        size += sizeof(word);
    }
    text[size] = '\0';
}

static void set_string(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_name(lua_State *L, long call)
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)call);
    if (name != NULL) {
        lua_pushstring(L, name);
    } else {
        lua_pushfstring(L, "%d", (int)call);
    }
    free(name);
}

/* Writes the telling argument as text. Returns false for a call that has none in the list. */
static bool tell(const struct process *process, const struct ptrace_syscall_info *info, char *text)
{
    for (size_t i = 0; i < sizeof(tellings) / sizeof(tellings[0]); i++) {
        if (tellings[i].call != process->call) {
            continue;
        }
        uint64_t value = info->entry.args[tellings[i].argument];
        if (tellings[i].text) {
            read_text(process->pid, value, text);
        } else {
            snprintf(text, MAX_TEXT, "%d", (int)value);
        }
        return true;
    }
    return false;
}

static void record_call(struct run *run, struct process *process, const char *text)
{
    lua_State *L = run->L;
    process->record = 0;
    if (run->calls == 0) {
        return;
    }
    lua_createtable(L, 0, 5);
    set_integer(L, "process", process - run->processes);
    push_name(L, process->call);
    lua_setfield(L, -2, "call");
    set_integer(L, "ordinal", process->counts[process->call]);
    if (text != NULL) {
        set_string(L, "detail", text);
    }
    process->record = ++run->count;
    lua_rawseti(L, run->calls, process->record);
}

static void record_result(const struct run *run, struct process *process, int64_t value)
{
    if (process->record == 0) {
        return;
    }
    lua_rawgeti(run->L, run->calls, process->record);
    set_integer(run->L, "result", value);
    lua_pop(run->L, 1);
    process->record = 0;
}

/* ---- Changing a call. Only on x86-64: `available` tells Lua whether it can. ---- */

#if defined(__x86_64__)
enum { AVAILABLE = 1 };

static void skip_call(pid_t pid)
{
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L);
}

static void set_argument(pid_t pid, uint64_t value)
{
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rdi), value);
}

static void set_result(pid_t pid, int error)
{
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), -(long)error);
}
#else
enum { AVAILABLE = 0 };

static void skip_call(pid_t pid)
{
    (void)pid;
}

static void set_argument(pid_t pid, uint64_t value)
{
    (void)pid;
    (void)value;
}

static void set_result(pid_t pid, int error)
{
    (void)pid;
    (void)error;
}
#endif

static void begin_call(struct run *run, struct process *process, const struct ptrace_syscall_info *info)
{
    char text[MAX_TEXT];
    process->call = (long)info->entry.nr;
    if (process->call < 0 || process->call >= MAX_CALLS) {
        return;
    }
    const bool told = (run->calls != 0 || run->mark != NULL) && tell(process, info, text);
    if (told && run->mark != NULL && strcmp(text, run->mark) == 0) {
        memset(process->counts, 0, sizeof(process->counts));
        run->mark = NULL;
    }
    process->counts[process->call]++;
    record_call(run, process, told ? text : NULL);
    if (run->mark != NULL || process - run->processes != run->target || process->call != run->call ||
        process->counts[process->call] != run->ordinal) {
        return;
    }
    run->injected = true;
    if (process->call == SYS_brk) { /* brk(2) fails by returning the old break */
        process->argument = info->entry.args[0];
        set_argument(process->pid, 0);
        return;
    }
    process->error = run->error;
    if (process->call != SYS_close) { /* close(2) closes the descriptor even when it fails */
        skip_call(process->pid);
    }
}

static void end_call(struct run *run, struct process *process, const struct ptrace_syscall_info *info)
{
    if (process->error != 0) {
        set_result(process->pid, process->error);
    }
    process->error = 0;
    if (process->argument != 0) {
        set_argument(process->pid, process->argument);
    }
    process->argument = 0;
    record_result(run, process, info->exit.rval);
}

static void look_at_call(struct run *run, struct process *process)
{
    struct ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, process->pid, sizeof(info), &info) <= 0) {
        return;
    }
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        begin_call(run, process, &info);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
        end_call(run, process, &info);
    }
}

/* ---- Processes ---- */

static struct process *find_process(struct run *run, pid_t pid)
{
    for (int i = 0; i < run->process_count; i++) {
        if (run->processes[i].pid == pid) {
            return &run->processes[i];
        }
    }
    return NULL;
}

static struct process *add_process(struct run *run, pid_t pid)
{
    if (run->process_count == MAX_PROCESSES) {
        return NULL;
    }
    struct process *process = &run->processes[run->process_count++];
    *process = (struct process){.pid = pid, .traced = true};
    process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* pidfd_open(2) fails for a thread */
    process->thread = process->pidfd < 0;
    return process;
}

static bool is_first(const struct run *run, const struct process *process)
{
    return process == run->processes;
}

static void let_go(struct process *process)
{
    ptrace(PTRACE_DETACH, process->pid, 0, 0);
    process->traced = false;
}

static void go_on(const struct process *process, int signal)
{
    ptrace(PTRACE_SYSCALL, process->pid, 0, signal);
}

static void look_at_stop(struct run *run, struct process *process, int status)
{
    const int signal = WSTOPSIG(status), event = status >> 16;
    const bool group_stop = event == PTRACE_EVENT_STOP && signal != SIGTRAP;
    if (group_stop) {
        ptrace(PTRACE_LISTEN, process->pid, 0, 0);
    } else if (event == PTRACE_EVENT_EXEC && !is_first(run, process) && process->call == SYS_execve) {
        record_result(run, process, 0);
        process->command = true;
        let_go(process);
    } else if (event == PTRACE_EVENT_EXIT && !is_first(run, process)) {
        let_go(process);
    } else if (event != 0) {
        go_on(process, 0);
    } else if (signal == (SIGTRAP | 0x80)) {
        look_at_call(run, process);
        go_on(process, 0);
    } else {
        go_on(process, signal);
    }
}

static void look_at(struct run *run, pid_t pid, int status)
{
    struct process *process = find_process(run, pid);
    if (WIFSTOPPED(status)) {
        if (process == NULL) {
            process = add_process(run, pid);
        }
        if (process != NULL) {
            look_at_stop(run, process, status);
        }
    } else if (process != NULL) {
        process->traced = false;
        if (is_first(run, process)) {
            run->ended = true;
            run->status = status;
        }
    }
}

static bool is_alive(const struct process *process)
{
    struct pollfd end = {.fd = process->pidfd, .events = POLLIN};
    return !process->thread && poll(&end, 1, 0) == 0;
}

static bool any_alive(const struct run *run)
{
    for (int i = 0; i < run->process_count; i++) {
        if (is_alive(&run->processes[i])) {
            return true;
        }
    }
    return false;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Follows the processes until all have ended or the time is over. SIGCHLD, which is blocked, comes with every
 * stop; the processes that were let go are looked at now and then. */
static void follow(struct run *run, double deadline, double linger)
{
    static const struct timespec GLANCE = {.tv_nsec = 5000000};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    while (now() < deadline) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
            look_at(run, pid, status);
        }
        if (run->ended && deadline > now() + linger) {
            deadline = now() + linger;
        }
        if (run->ended && !any_alive(run)) {
            return;
        }
        sigtimedwait(&child, NULL, &GLANCE);
    }
}

/* ---- The program ---- */

struct program {
    char *arguments[MAX_ARGUMENTS + 1];
    int fds[4]; /* stdin, stdout, stderr, controlling terminal; -1: none */
};

static _Noreturn void become(const struct program *program, int go)
{
    char byte;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (program->fds[3] >= 0 && ioctl(program->fds[3], TIOCSCTTY, 0) != 0) {
        _exit(NOT_FOUND);
    }
    for (int i = 0; i < 3; i++) {
        if (program->fds[i] >= 0) {
            dup2(program->fds[i], i);
        }
    }
    if (read(go, &byte, 1) == 1 && program->arguments[0] != NULL) {
        execvp(program->arguments[0], program->arguments);
    }
    _exit(NOT_FOUND);
}

/* Starts the program under ptrace(2). Returns 0, or the errno of what failed. */
static int start(struct run *run, const struct program *program)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                         PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL;
    int go[2];
    if (pipe2(go, O_CLOEXEC) != 0) {
        return errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        become(program, go[0]);
    }
    int error = pid < 0 ? errno : 0;
    if (error == 0 &&
        (ptrace(PTRACE_SEIZE, pid, 0, options) != 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) != 0)) {
        error = errno;
    }
    if (error == 0) {
        add_process(run, pid);
        error = write(go[1], "", 1) == 1 ? 0 : errno;
    }
    close(go[0]);
    close(go[1]);
    return error;
}

/* Kills the processes that are left, and reaps those that are still traced: this process must keep no zombie
 * of them. */
static void clear(struct run *run)
{
    int status;
    for (int i = 0; i < run->process_count; i++) {
        if (is_alive(&run->processes[i])) {
            syscall(SYS_pidfd_send_signal, run->processes[i].pidfd, SIGKILL, NULL, 0);
        }
    }
    for (int i = 0; i < run->process_count; i++) {
        struct process *process = &run->processes[i];
        while (process->traced && waitpid(process->pid, &status, __WALL) == process->pid &&
               WIFSTOPPED(status)) {
            ptrace(PTRACE_CONT, process->pid, 0, SIGKILL);
        }
        if (process->pidfd >= 0) {
            close(process->pidfd);
        }
    }
}

/* ---- Lua ---- */

static int descriptor(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    int fd = (int)luaL_optinteger(L, -1, -1);
    lua_pop(L, 1);
    return fd;
}

static double seconds(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    double value = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static void get_target(lua_State *L, struct run *run)
{
    run->target = -1;
    if (lua_getfield(L, 2, "fail") == LUA_TTABLE) {
        lua_getfield(L, -1, "process");
        lua_getfield(L, -2, "call");
        lua_getfield(L, -3, "ordinal");
        lua_getfield(L, -4, "errno");
        run->target = (int)luaL_checkinteger(L, -4);
        run->call = seccomp_syscall_resolve_name(luaL_checkstring(L, -3));
        run->ordinal = (int)luaL_checkinteger(L, -2);
        run->error = (int)luaL_checkinteger(L, -1);
        lua_pop(L, 4);
    }
    lua_pop(L, 1);
}

static void push_processes(lua_State *L, const struct run *run)
{
    lua_newtable(L);
    for (int i = 0; i < run->process_count; i++) {
        const struct process *process = &run->processes[i];
        lua_newtable(L);
        set_integer(L, "pid", process->pid);
        lua_pushboolean(L, process->command);
        lua_setfield(L, -2, "command");
        lua_pushboolean(L, process->thread);
        lua_setfield(L, -2, "thread");
        lua_pushboolean(L, is_alive(process));
        lua_setfield(L, -2, "alive");
        lua_rawseti(L, -2, i);
    }
}

/* run({argument...}, options) -> result
 *
 * options: `stdin`, `stdout`, `stderr`, `terminal`: descriptors; `seconds`: how long the program may take;
 * `linger`: how long, after its end, the processes that it started may; `mark`: text of the call of the
 * program from which on its calls are counted; `record`; `fail`: {process=, call=, ordinal=, errno=}. result:
 * `ended` "exited" or "killed" and `status`, absent when the time was over; `injected`; `processes`: from 0,
 * {pid=, command=, thread=, alive=}; with `record` `calls`: array of {process=, call=, ordinal=, detail=,
 * result=}. Whatever is alive at the end is killed. */
static int run_program(lua_State *L)
{
    struct run *run = lua_newuserdatauv(L, sizeof(*run), 0);
    struct program program = {{NULL}, {-1, -1, -1, -1}};
    sigset_t child, before;

    *run = (struct run){.L = L};
    for (size_t i = 0; i < lua_rawlen(L, 1) && i < MAX_ARGUMENTS; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1); /* stays on the stack, so that the string stays */
        program.arguments[i] = (char *)luaL_checkstring(L, -1);
        luaL_checkstack(L, LUA_MINSTACK, NULL);
    }
    program.fds[0] = descriptor(L, "stdin");
    program.fds[1] = descriptor(L, "stdout");
    program.fds[2] = descriptor(L, "stderr");
    program.fds[3] = descriptor(L, "terminal");
    const double deadline = now() + seconds(L, "seconds"), linger = seconds(L, "linger");
    get_target(L, run);
    lua_getfield(L, 2, "mark"); /* stays on the stack */
    run->mark = lua_tostring(L, -1);
    lua_newtable(L);
    const int result = lua_gettop(L);
    if (lua_getfield(L, 2, "record") != LUA_TNIL) {
        lua_newtable(L);
        run->calls = lua_gettop(L);
    }

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    int error = start(run, &program);
    if (error == 0) {
        follow(run, deadline, linger);
    }
    push_processes(L, run);
    clear(run);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return luaL_error(L, "ptrace: %s", strerror(error));
    }

    lua_setfield(L, result, "processes");
    if (run->calls != 0) {
        lua_pushvalue(L, run->calls);
        lua_setfield(L, result, "calls");
    }
    lua_settop(L, result);
    lua_pushboolean(L, run->injected);
    lua_setfield(L, -2, "injected");
    if (run->ended) {
        set_string(L, "ended", WIFEXITED(run->status) ? "exited" : "killed");
        set_integer(L, "status", WIFEXITED(run->status) ? WEXITSTATUS(run->status) : WTERMSIG(run->status));
    }
    return 1;
}

int luaopen_inject(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {{"run", run_program}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    lua_pushboolean(L, AVAILABLE);
    lua_setfield(L, -2, "available");
    return 1;
}
