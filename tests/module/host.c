/* A host program with Lua states of its own, which looks whether the module left everything as it was.
 *
 * usage: host [-c] [-i] [-r] [-t THREADS] REPORT SCRIPT [ARGUMENT...]
 *
 *   -c  without standard streams
 *   -i  SIGCHLD ignored: the kernel reaps every child
 *   -r  SIGCHLD handled by reaping every child
 *   -t  that many threads, each with a Lua state, which all run the script; the script's last argument is the
 *       number of its thread
 *
 * What is wrong goes into the file REPORT, a line each. Exit status 0: nothing was. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <locale.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SIGNALS = 65,
    TEXT_MAX = 16384,
    THREADS_MAX = 64,
    OWN_STATUS = 42,
};

/* What a host program may expect to find unchanged. */
struct manners {
    void (*handlers[SIGNALS])(int);
    sigset_t blocked;
    mode_t umask;
    char cwd[TEXT_MAX];
    char environment[TEXT_MAX];
    char locale[TEXT_MAX];
    int descriptors;
};

struct job {
    int number;
    int argc;
    char **argv;
    pthread_t thread;
    bool failed;
};

extern char **environ;
static FILE *report;

static int open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    while (directory != NULL && readdir(directory) != NULL) {
        count++;
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return count;
}

static void look(struct manners *manners)
{
    memset(manners, 0, sizeof(*manners));
    for (int number = 1; number < SIGNALS; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0) {
            manners->handlers[number] = action.sa_handler;
        }
    }
    pthread_sigmask(SIG_SETMASK, NULL, &manners->blocked);
    manners->umask = umask(0);
    umask(manners->umask);
    if (getcwd(manners->cwd, sizeof(manners->cwd)) == NULL) {
        fprintf(report, "getcwd: %s\n", strerror(errno));
    }
    for (char **entry = environ; *entry != NULL; entry++) {
        strncat(manners->environment, *entry,
                sizeof(manners->environment) - strlen(manners->environment) - 1);
    }
    (void)snprintf(manners->locale, sizeof(manners->locale), "%s", setlocale(LC_ALL, NULL));
    manners->descriptors = open_descriptors();
}

static bool same(const char *what, bool equal)
{
    if (!equal) {
        fprintf(report, "changed: %s\n", what);
    }
    return equal;
}

static bool compare(const struct manners *before, const struct manners *after)
{
    bool ok =
        same("signal handlers", memcmp(before->handlers, after->handlers, sizeof(before->handlers)) == 0);

    ok &= same("blocked signals", memcmp(&before->blocked, &after->blocked, sizeof(before->blocked)) == 0);
    ok &= same("umask", before->umask == after->umask);
    ok &= same("working directory", strcmp(before->cwd, after->cwd) == 0);
    ok &= same("environment", strcmp(before->environment, after->environment) == 0);
    ok &= same("locale", strcmp(before->locale, after->locale) == 0);
    ok &= same("number of descriptors", before->descriptors == after->descriptors);
    return ok;
}

static void reap_all(int number)
{
    const int saved = errno;

    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = saved;
}

static bool run_script(lua_State *L, const struct job *job)
{
    luaL_openlibs(L);
    if (luaL_loadfile(L, job->argv[0]) != LUA_OK) {
        return false;
    }
    for (int i = 1; i < job->argc; i++) {
        lua_pushstring(L, job->argv[i]);
    }
    lua_pushinteger(L, job->number);
    return lua_pcall(L, job->argc, 0, 0) == LUA_OK;
}

static void *work(void *argument)
{
    struct job *job = argument;
    lua_State *L = luaL_newstate();

    job->failed = L == NULL || !run_script(L, job);
    if (job->failed) {
        fprintf(report, "thread %d: %s\n", job->number, L == NULL ? "no memory" : lua_tostring(L, -1));
    }
    if (L != NULL) {
        lua_close(L);
    }
    return NULL;
}

static bool run_threads(int count, int argc, char **argv)
{
    static struct job jobs[THREADS_MAX];
    bool ok = true;

    for (int i = 0; i < count; i++) {
        jobs[i] = (struct job){.number = i + 1, .argc = argc, .argv = argv};
        if (pthread_create(&jobs[i].thread, NULL, work, &jobs[i]) != 0) {
            fprintf(report, "no thread could be made\n");
            exit(1);
        }
    }
    for (int i = 0; i < count; i++) {
        pthread_join(jobs[i].thread, NULL);
        ok &= !jobs[i].failed;
    }
    return ok;
}

/* A child of the program's own: nobody else may take its exit status. */
static pid_t own_child(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(OWN_STATUS);
    }
    return pid;
}

static bool check_child(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == OWN_STATUS) {
        return true;
    }
    fprintf(report, "the exit status of another child is lost\n");
    return false;
}

static bool no_other_child(void)
{
    siginfo_t info;

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD) {
        return true;
    }
    fprintf(report, "a child is left\n");
    return false;
}

static void close_stdio(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    static struct manners before;
    static struct manners after;
    bool closed = false;
    bool reaps = false;
    int threads = 1;
    int option;

    while ((option = getopt(argc, argv, "cirt:")) != -1) {
        closed |= option == 'c';
        reaps |= option == 'i' || option == 'r';
        if (option == 'i') {
            (void)signal(SIGCHLD, SIG_IGN);
        } else if (option == 'r') {
            (void)signal(SIGCHLD, reap_all);
        } else if (option == 't') {
            threads = atoi(optarg);
        }
    }
    int fd = optind + 2 > argc ? -1 : open(argv[optind], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    report = fd < 0 ? NULL : fdopen(fcntl(fd, F_DUPFD_CLOEXEC, 100), "w");
    if (report == NULL || threads < 1 || threads > THREADS_MAX) {
        fputs("usage: host [-c] [-i] [-r] [-t THREADS] REPORT SCRIPT [ARGUMENT...]\n", stderr);
        return 2;
    }
    close(fd);
    if (closed) {
        close_stdio();
    }
    (void)setlocale(LC_ALL, "C.UTF-8");
    umask(027);
    const pid_t child = own_child();
    look(&before);
    bool ok = run_threads(threads, argc - optind - 1, argv + optind + 1);
    look(&after);
    ok &= compare(&before, &after);
    if (!reaps) {
        ok &= check_child(child);
        ok &= no_other_child();
    }
    fclose(report);
    return ok ? 0 : 1;
}
