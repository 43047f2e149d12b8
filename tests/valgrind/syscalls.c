/* System calls that valgrind 3.19 does not know, made on the real processor. For LD_PRELOAD, under valgrind
 * only.
 *
 * Only calls that write nothing to memory are here, so that valgrind misses nothing of the program's memory.
 * x86-64. */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/valgrind.h>

#ifdef __clang__
#define NO_STACK_PROTECTOR __attribute__((no_stack_protector))
#else
#define NO_STACK_PROTECTOR __attribute__((optimize("no-stack-protector")))
#endif

enum { ARGUMENTS = 6 };

static long raw(long number, const long *a)
{
    long result;
    /* cppcheck-suppress constStatement */
    register long r10 __asm__("r10") = a[3];
    /* cppcheck-suppress constStatement */
    register long r8 __asm__("r8") = a[4];
    /* cppcheck-suppress constStatement */
    register long r9 __asm__("r9") = a[5];

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Runs outside valgrind: no thread-local storage, so no errno and no stack protector. */
NO_STACK_PROTECTOR static long native(unsigned thread, long number, const long *a)
{
    (void)thread;
    return raw(number, a);
}

/* For this program alone: what it starts runs on the real processor. */
__attribute__((constructor)) static void hide(void)
{
    if (RUNNING_ON_VALGRIND) {
        unsetenv("LD_PRELOAD");
    }
}

/* A clone that shares our memory is more than valgrind can follow: a fork does for a child that only
 * executes. */
int clone(int (*run)(void *), void *stack, int flags, void *argument, ...)
{
    long a[ARGUMENTS] = {flags & ~(CLONE_VM | CLONE_VFORK)};
    va_list list;
    long pid;

    (void)stack;
    va_start(list, argument);
    a[2] = (long)va_arg(list, void *);
    va_end(list);
    pid = raw(SYS_clone, a);
    if (pid == 0) {
        _exit(run(argument));
    }
    if (pid < 0) {
        errno = (int)-pid;
        return -1;
    }
    return (int)pid;
}

/* Valgrind keeps descriptors of its own above the limit that it shows the program. Without them it ends,
 * should its scheduler get a turn before the execve; they are close-on-exec. */
static long below_valgrind(long last)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || (unsigned long)last < limit.rlim_max) {
        return last;
    }
    return (long)limit.rlim_max - 1;
}

long syscall(long number, ...)
{
    long a[ARGUMENTS];
    long result;
    va_list list;

    va_start(list, number);
    for (int i = 0; i < ARGUMENTS; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
    if (RUNNING_ON_VALGRIND && number == SYS_close_range) {
        a[1] = below_valgrind(a[1]);
    }
    switch (RUNNING_ON_VALGRIND ? number : -1) {
    case SYS_openat2:
    case SYS_pidfd_open:
    case SYS_pidfd_send_signal:
    case SYS_pidfd_getfd:
    case SYS_close_range:
    case SYS_execveat:
        result = (long)VALGRIND_NON_SIMD_CALL2(native, number, a);
        break;
    default:
        result = raw(number, a);
    }
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}
