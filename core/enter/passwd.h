/* The home directory of a uid in a passwd(5) file that the container controls, fed piece by piece so that
 * neither its size nor the length of its lines costs memory. */
#ifndef CTREXEC_PASSWD_H
#define CTREXEC_PASSWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PASSWD_HOME_MAX 4096

struct passwd_search {
    uint32_t uid;    /* wanted */
    unsigned field;  /* of the current line, from 0 */
    bool skip;       /* the current line is malformed or another user's */
    bool found;      /* home is complete */
    uint64_t number; /* the uid field read so far */
    unsigned digits; /* how many digits it has */
    size_t length;   /* of home */
    char home[PASSWD_HOME_MAX];
};

void passwd_begin(struct passwd_search *search, uint32_t uid);

/* Reads the next piece of the file. Returns true as soon as the user's home directory is known; search->home
 * then ends in a NUL. */
bool passwd_feed(struct passwd_search *search, const char *bytes, size_t count);

/* Tells that the file has ended, which ends its last line. Returns what passwd_feed returns. */
bool passwd_end(struct passwd_search *search);

#endif
