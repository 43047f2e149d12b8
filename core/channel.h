#ifndef CTREXEC_CHANNEL_H
#define CTREXEC_CHANNEL_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Sends a packed value: in one call if the socket takes it, because each call wakes the reader. False with
 * errno. */
bool ctx_send_packed(int channel, const char *bytes, size_t length);

/* Receives a packed value and pushes it. False with errno, which is 0 at the end of the stream, EMSGSIZE or
 * EBADMSG for what is no packed value. */
bool ctx_receive_packed(lua_State *L, int channel);

#endif
