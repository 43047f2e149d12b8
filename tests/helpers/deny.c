/* Runs a program with one system call refused, as an older kernel or a sandbox refuses it: openat2(2), or the
 * ioctl(2) that tells how a reaped process has ended (PIDFD_GET_INFO of linux/pidfd.h, of any size).
 *
 * usage: deny openat2|exit_info ERRNO PROGRAM [ARGUMENT...] */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The type and the number of the request; above them are its direction and size. */
enum { REQUEST_MASK = 0xFFFF, GET_INFO = 0xFF0B };

static int load(struct sock_filter *code, size_t count)
{
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1
                                                      : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static int deny_openat2(unsigned refusal)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refusal),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    return load(code, sizeof(code) / sizeof(*code));
}

static int deny_exit_info(unsigned refusal)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, REQUEST_MASK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GET_INFO, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refusal),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    return load(code, sizeof(code) / sizeof(*code));
}

int main(int argc, char **argv)
{
    unsigned refusal;
    int loaded;

    if (argc < 4) {
        fputs("usage: deny openat2|exit_info ERRNO PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    refusal = SECCOMP_RET_ERRNO | ((unsigned)atoi(argv[2]) & SECCOMP_RET_DATA);
    loaded = strcmp(argv[1], "openat2") == 0 ? deny_openat2(refusal) : deny_exit_info(refusal);
    if (loaded < 0) {
        fprintf(stderr, "deny: %s\n", strerror(errno));
        return 1;
    }
    execvp(argv[3], argv + 3);
    fprintf(stderr, "deny: %s: %s\n", argv[3], strerror(errno));
    return 127;
}
