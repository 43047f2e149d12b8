/* Prints what a process sees of itself, one fact a line ("name: value"), for comparing two ways of starting
 * it. Static, so that it runs in a root file system with no library and no shell, and under a seccomp
 * profile: a refused call is a fact like any other. Facts whose value is never the same twice (process ids,
 * times) are reduced to what matters.
 *
 * usage: report [ARGUMENT...]     the arguments are only printed
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

enum { MAX_FD = 1024, KEYCTL_DESCRIBE_OP = 6, SESSION_KEYRING = -3, IOPRIO_OF_PROCESS = 1 };

struct scheduling {
    unsigned int size, policy;
    unsigned long long flags;
    int nice;
    unsigned int priority;
    unsigned long long runtime, deadline, period;
};

static void print_result(const char *name, long value)
{
    if (value < 0) {
        printf("%s: %s\n", name, strerror(errno));
    } else {
        printf("%s: %ld\n", name, value);
    }
}

/* A control character in an argument or a variable would break the one-fact-a-line form. */
static void print_text(const char *name, const char *text)
{
    printf("%s: ", name);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if ((*c < ' ' && *c != '\t') || *c > '~' || *c == '\\') {
            printf("\\%02x", *c);
        } else {
            putchar(*c);
        }
    }
    putchar('\n');
}

static void print_link(const char *name, const char *path)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length < 0) {
        printf("%s: %s\n", name, strerror(errno));
        return;
    }
    target[length] = '\0';
    print_text(name, target);
}

static int wanted(const char *line, const char *const *names)
{
    for (; *names != NULL; names++) {
        size_t length = strlen(*names);
        if (strncmp(line, *names, length) == 0 && line[length] == ':') {
            return 1;
        }
    }
    return 0;
}

/* Prints the lines of a file of /proc: all of them, or those whose name is in the list. */
static void print_file(const char *name, const char *path, const char *const *names)
{
    FILE *file = fopen(path, "re");
    char line[8192];
    if (file == NULL) {
        printf("%s: %s\n", name, strerror(errno));
        return;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (names == NULL || wanted(line, names)) {
            print_text(name, line);
        }
    }
    fclose(file);
}

static void print_limits(void)
{
    FILE *file = fopen("/proc/self/limits", "re");
    char line[256];
    if (file == NULL) {
        printf("limit: %s\n", strerror(errno));
        return;
    }
    /* runc 1.1 reports the open-file limit unsteadily: its Go runtime raises and restores it while it starts.
     */
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "Max open files", 14) != 0) {
            print_text("limit", line);
        }
    }
    fclose(file);
}

static void print_mounts(void)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    int count = 0, c;
    if (file == NULL) {
        printf("mounts: %s\n", strerror(errno));
        return;
    }
    while ((c = getc(file)) != EOF) {
        count += c == '\n';
    }
    fclose(file);
    printf("mounts: %d\n", count);
}

static void print_namespaces(void)
{
    static const char *const names[] = {"cgroup",           "ipc",  "mnt",  "net", "pid",
                                        "pid_for_children", "time", "user", "uts", NULL};
    for (const char *const *name = names; *name != NULL; name++) {
        char path[64], label[64];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", *name);
        snprintf(label, sizeof(label), "ns %s", *name);
        print_link(label, path);
    }
}

/* Standard streams differ by design (some runtimes copy them, some hand them over), so only whether they are
 * open counts. */
static void print_descriptors(const int *open_at_start)
{
    for (int fd = 0; fd < MAX_FD; fd++) {
        char path[64], label[32];
        if (!open_at_start[fd]) {
            continue;
        }
        snprintf(label, sizeof(label), "fd %d", fd);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (fd <= STDERR_FILENO) {
            printf("%s: open\n", label);
        } else {
            print_link(label, path);
        }
    }
}

static void print_keyring(void)
{
    char description[256];
    long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE_OP, SESSION_KEYRING, description, sizeof(description));
    if (length < 0) {
        printf("keyring: %s\n", strerror(errno));
    } else {
        print_text("keyring", description);
    }
}

static void print_scheduling(void)
{
    struct scheduling attributes = {.size = sizeof(attributes)};
    print_result("ioprio", syscall(SYS_ioprio_get, IOPRIO_OF_PROCESS, 0));
    if (syscall(SYS_sched_getattr, 0, &attributes, attributes.size, 0) < 0) {
        printf("scheduler: %s\n", strerror(errno));
        return;
    }
    printf("scheduler: policy %u flags %llu nice %d priority %u runtime %llu deadline %llu period %llu\n",
           attributes.policy, attributes.flags, attributes.nice, attributes.priority,
           attributes.policy == SCHED_OTHER ? 0 : attributes.runtime, attributes.deadline, attributes.period);
}

static void print_process(void)
{
    char comm[16] = "";
    int signal = 0, subreaper = 0;
    pid_t pid = getpid();

    printf("parent: %s\n", getppid() == 0 ? "outside" : "inside");
    printf("session leader: %s\n", getsid(0) == pid ? "yes" : "no");
    printf("group leader: %s\n", getpgrp() == pid ? "yes" : "no");
    print_result("dumpable", prctl(PR_GET_DUMPABLE));
    print_result("keepcaps", prctl(PR_GET_KEEPCAPS));
    print_result("securebits", prctl(PR_GET_SECUREBITS));
    print_result("timerslack", prctl(PR_GET_TIMERSLACK));
    print_result("thp disable", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    if (prctl(PR_GET_PDEATHSIG, &signal) == 0) {
        printf("death signal: %d\n", signal);
    }
    if (prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0) {
        printf("subreaper: %d\n", subreaper);
    }
    if (prctl(PR_GET_NAME, comm) == 0) {
        print_text("comm", comm);
    }
    printf("secure: %lu\n", getauxval(AT_SECURE));
    if (getauxval(AT_EXECFN) != 0) {
        print_text("execfn", (const char *)getauxval(AT_EXECFN)); /* NOLINT(performance-no-int-to-ptr) */
    }
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    printf("controlling terminal: %s\n", tty < 0 ? strerror(errno) : "yes");
    if (tty >= 0) {
        close(tty);
    }
}

int main(int argc, char **argv)
{
    static const char *const status[] = {"Umask",
                                         "Uid",
                                         "Gid",
                                         "Groups",
                                         "SigBlk",
                                         "SigIgn",
                                         "SigCgt",
                                         "CapInh",
                                         "CapPrm",
                                         "CapEff",
                                         "CapBnd",
                                         "CapAmb",
                                         "Seccomp",
                                         "State",
                                         "Cpus_allowed",
                                         "Threads",
                                         "NoNewPrivs",
                                         "TracerPid",
                                         "Mems_allowed_list",
                                         "Seccomp_filters",
                                         NULL};
    static int open_at_start[MAX_FD];
    char cwd[PATH_MAX], label[32];
    struct utsname uts;

    for (int fd = 0; fd < MAX_FD; fd++) {
        open_at_start[fd] = fcntl(fd, F_GETFD) >= 0;
    }

    for (int i = 0; i < argc; i++) {
        snprintf(label, sizeof(label), "argument %d", i);
        print_text(label, argv[i]);
    }
    for (char **variable = environ; *variable != NULL; variable++) {
        print_text("env", *variable);
    }
    print_text("cwd", getcwd(cwd, sizeof(cwd)) != NULL ? cwd : strerror(errno));
    print_link("root", "/proc/self/root");
    print_file("status", "/proc/self/status", status);
    print_limits();
    print_file("cgroup", "/proc/self/cgroup", NULL);
    print_file("oom_score_adj", "/proc/self/oom_score_adj", NULL);
    print_file("loginuid", "/proc/self/loginuid", NULL);
    print_file("sessionid", "/proc/self/sessionid", NULL);
    print_file("personality", "/proc/self/personality", NULL);
    print_file("coredump_filter", "/proc/self/coredump_filter", NULL);
    print_file("timens_offsets", "/proc/self/timens_offsets", NULL);
    print_file("label", "/proc/self/attr/current", NULL);
    print_namespaces();
    print_mounts();
    print_descriptors(open_at_start);
    print_keyring();
    print_scheduling();
    print_process();
    if (uname(&uts) == 0) {
        print_text("hostname", uts.nodename);
    }
    return 0;
}
