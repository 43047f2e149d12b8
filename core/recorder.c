/***
Writes what a command's streams carried into a file that can be played: asciicast version 2, as asciinema and
its players read it. A header line, then one event a line, `[seconds, code, data]`: "o" for output, "i" for
input, "r" for a window size ("80x24").

- Data is a JSON string. UTF-8 that was cut in two by a read is put together again, whatever is no UTF-8
becomes U+FFFD, and control characters are escaped, C1 (U+0080 to U+009F) too: what a command writes can
neither end its event nor reach the terminal of a person who prints the file.
- A newline without a return gets one, as the caller's terminal adds it: a player shows what the caller saw.
- The buffer holds whole lines. It is written when it has 64 KiB and once its oldest line is a second old, so
that the file of a program that was killed ends at the end of a line, too.
- After a failed write, or at its size limit, the file ends with its last whole line. Whether that also ends
the session is for the caller to say.

@module ctrexec.core.recorder
*/
#include "recorder.h"

#include "common/protect.h"
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* The metatable name of a recorder. */
#define RECORDER "ctrexec.recorder"

enum {
    FLUSH_SIZE = 64 * 1024,
    /* Bytes of a stream that one event takes, and what they may become: six bytes each ("\u001b"), the same
     * for what was kept from before, and the rest of the line. */
    PIECE_SIZE = 8 * 1024,
    EVENT_SIZE = 6 * (PIECE_SIZE + 4) + 64,
    NANOSECONDS = 1000000000,
    MICROSECOND = 1000,
    MAX_AGE = NANOSECONDS,
};

/* The state of one stream: the UTF-8 sequence that has begun, and what may come next in it (RFC 3629, section
 * 4). */
struct decoder {
    char bytes[4];
    unsigned char have;
    unsigned char missing;
    unsigned char low;
    unsigned char high;
    bool after_return;
};

struct ctx_recorder {
    int fd; /* -1 once finished */
    int error;
    bool required;
    bool input;
    bool passwords;
    struct winsize window;
    int64_t began;
    int64_t oldest; /* when the first line of the buffer was made */
    off_t size;
    off_t max_size; /* 0 for none */
    struct decoder decoders[CTX_STREAM_COUNT];
    size_t length;
    char buffer[FLUSH_SIZE + EVENT_SIZE];
};

static int64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

/* ---- Writing ---- */

static void write_all(struct ctx_recorder *recorder, const char *data, size_t size)
{
    off_t whole = recorder->size;
    if (recorder->max_size > 0 && (off_t)size > recorder->max_size - whole && recorder->error == 0) {
        recorder->error = EFBIG;
    }
    while (size > 0 && recorder->error == 0) {
        ssize_t count = ctx_write(recorder->fd, data, size);
        if (count > 0) {
            data += count;
            size -= (size_t)count;
            recorder->size += count;
        } else {
            recorder->error = count < 0 ? errno : EIO;
        }
    }
    if (recorder->error != 0 && recorder->size != whole) {
        /* Takes away the part of the lines that was written before the failure. */
        recorder->size = ftruncate(recorder->fd, whole) == 0 ? whole : recorder->size;
    }
}

static void flush(struct ctx_recorder *recorder)
{
    write_all(recorder, recorder->buffer, recorder->length);
    recorder->length = 0;
}

/* ---- Strings ---- */

static char *put(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return out + size;
}

static char *put_escape(char *out, unsigned character)
{
    static const char DIGITS[] = "0123456789abcdef";
    out = put(out, "\\u00", 4);
    *out++ = DIGITS[character >> 4];
    *out++ = DIGITS[character & 15];
    return out;
}

static char *put_replacement(char *out)
{
    return put(out, "\xef\xbf\xbd", 3);
}

static char *put_ascii(char *out, unsigned char byte)
{
    if (!PROTECTED(recorder_escape)) {
        *out++ = (char)byte;
        return out;
    }
    switch (byte) {
    case '\n':
        return put(out, "\\n", 2);
    case '\r':
        return put(out, "\\r", 2);
    case '\t':
        return put(out, "\\t", 2);
    case '"':
    case '\\':
        *out++ = '\\';
        *out++ = (char)byte;
        return out;
    default:
        if (byte < 0x20 || byte == 0x7f) {
            return put_escape(out, byte);
        }
        *out++ = (char)byte;
        return out;
    }
}

/* A whole sequence of two bytes or more; a C1 control character is escaped. */
static char *put_sequence(char *out, const struct decoder *decoder)
{
    if (decoder->have == 2 && decoder->bytes[0] == '\xc2' && (unsigned char)decoder->bytes[1] < 0xa0) {
        return put_escape(out, (unsigned char)decoder->bytes[1]);
    }
    return put(out, decoder->bytes, decoder->have);
}

/* Begins a sequence with its first byte. Returns false for a byte that cannot be one. */
static bool begin_sequence(struct decoder *decoder, unsigned char byte)
{
    if (byte < 0xc2 || byte > 0xf4) {
        return false;
    }
    decoder->bytes[0] = (char)byte;
    decoder->have = 1;
    decoder->missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    /* No overlong form, no surrogate, nothing above U+10FFFF. */
    decoder->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    decoder->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    return true;
}

static char *put_byte(char *out, struct decoder *decoder, unsigned char byte)
{
    if (decoder->missing > 0) {
        if (byte >= decoder->low && byte <= decoder->high) {
            decoder->bytes[decoder->have++] = (char)byte;
            decoder->low = 0x80;
            decoder->high = 0xbf;
            return --decoder->missing == 0 ? put_sequence(out, decoder) : out;
        }
        decoder->missing = 0;
        out = put_replacement(out);
    }
    if (byte < 0x80) {
        return put_ascii(out, byte);
    }
    return begin_sequence(decoder, byte) ? out : put_replacement(out);
}

static char *put_output_byte(char *out, struct decoder *decoder, unsigned char byte)
{
    if (byte == '\n' && !decoder->after_return) {
        out = put_byte(out, decoder, '\r');
    }
    decoder->after_return = byte == '\r';
    return put_byte(out, decoder, byte);
}

/* Ends a sequence of which nothing more will come. */
static char *put_rest(char *out, struct decoder *decoder)
{
    if (decoder->missing == 0) {
        return out;
    }
    decoder->missing = 0;
    return put_replacement(out);
}

/* ---- Events ---- */

static char *begin_event(struct ctx_recorder *recorder, char code)
{
    int64_t now = clock_now();
    int64_t since = (now - recorder->began) / MICROSECOND;
    char *out = recorder->buffer + recorder->length;
    if (recorder->length == 0) {
        recorder->oldest = now;
    }
    return out + snprintf(out, EVENT_SIZE, "[%lld.%06lld, \"%c\", \"", (long long)(since / 1000000),
                          (long long)(since % 1000000), code);
}

static void end_event(struct ctx_recorder *recorder, char *out)
{
    out = put(out, "\"]\n", 3);
    recorder->length = (size_t)(out - recorder->buffer);
    if (recorder->length >= FLUSH_SIZE) {
        flush(recorder);
    }
}

static bool is_recording(const struct ctx_recorder *recorder)
{
    return recorder->fd >= 0 && recorder->error == 0;
}

static void record_piece(struct ctx_recorder *recorder, enum ctx_stream stream, const unsigned char *data,
                         size_t size)
{
    struct decoder *decoder = &recorder->decoders[stream];
    char *begin = begin_event(recorder, stream == CTX_STREAM_INPUT ? 'i' : 'o');
    char *out = begin;
    for (size_t i = 0; i < size; i++) {
        out = stream == CTX_STREAM_INPUT ? put_byte(out, decoder, data[i])
                                         : put_output_byte(out, decoder, data[i]);
    }
    /* The whole piece may be the beginning of a sequence: then there is nothing to record yet. */
    if (out != begin) {
        end_event(recorder, out);
    }
}

void ctx_record(struct ctx_recorder *recorder, enum ctx_stream stream, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    while (size > 0 && is_recording(recorder)) {
        size_t piece = size < PIECE_SIZE ? size : PIECE_SIZE;
        record_piece(recorder, stream, bytes, piece);
        bytes += piece;
        size -= piece;
    }
}

static void record_size(struct ctx_recorder *recorder, const struct winsize *window)
{
    if (!is_recording(recorder) || window->ws_row == 0 || window->ws_col == 0 ||
        (window->ws_row == recorder->window.ws_row && window->ws_col == recorder->window.ws_col)) {
        return;
    }
    recorder->window = *window;
    char *out = begin_event(recorder, 'r');
    end_event(recorder, out + snprintf(out, EVENT_SIZE, "%dx%d", window->ws_col, window->ws_row));
}

void ctx_record_window(struct ctx_recorder *recorder, int terminal)
{
    struct winsize window;
    if (ioctl(terminal, TIOCGWINSZ, &window) == 0) {
        record_size(recorder, &window);
    }
}

bool ctx_records_input(const struct ctx_recorder *recorder, int terminal)
{
    if (!recorder->input || recorder->passwords || terminal < 0) {
        return recorder->input;
    }
    struct termios settings;
    return tcgetattr(terminal, &settings) != 0 || (settings.c_lflag & ECHO) != 0;
}

static int failure(const struct ctx_recorder *recorder)
{
    return recorder->required ? recorder->error : 0;
}

int ctx_recorder_tick(struct ctx_recorder *recorder, struct timespec *left, bool *limited)
{
    if (recorder->length == 0) {
        return failure(recorder);
    }
    int64_t wait = recorder->oldest + MAX_AGE - clock_now();
    if (wait <= 0) {
        flush(recorder);
    } else if (!*limited || left->tv_sec > 0 || left->tv_nsec > wait) {
        /* `wait` is a second at most, so a time left of one second or more is never shorter. */
        *left = (struct timespec){.tv_sec = wait / NANOSECONDS, .tv_nsec = wait % NANOSECONDS};
        *limited = true;
    }
    return failure(recorder);
}

/* ---- The binding ---- */

struct ctx_recorder *ctx_check_recorder(lua_State *L, int index)
{
    return luaL_checkudata(L, index, RECORDER);
}

static bool option(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static unsigned short size_option(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    lua_Integer value = luaL_optinteger(L, -1, 0);
    luaL_argcheck(L, value >= 0 && value <= UINT16_MAX, table, "rows and columns are 0 to 65535");
    lua_pop(L, 1);
    return (unsigned short)value;
}

static int result(lua_State *L, int error)
{
    return error == 0 ? ctx_ok(L) : ctx_error(L, error, "write");
}

/***
Begins a recording: writes the header line and starts the clock.

@function new
@tparam fd fd an empty file, open for writing; the recorder's from here on, when that succeeds
@tparam string header the first line, without the newline
@tparam[opt] table options `required`: a failed write is to end the session; `input`: what is typed is
recorded; `passwords`: also while a terminal does not echo it; `rows` and `columns` of the terminal, as in the
header; `max_size` of the file in bytes, an integer: what would not fit any more fails with EFBIG
@treturn[1] recorder
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno of the write
*/
static int new (lua_State *L)
{
    size_t length = 0;
    const char *header = luaL_checklstring(L, 2, &length);
    luaL_checkudata(L, 1, CTX_FD);
    lua_settop(L, 3);
    if (lua_isnil(L, 3)) {
        lua_newtable(L);
        lua_replace(L, 3);
    }
    luaL_checktype(L, 3, LUA_TTABLE);
    struct ctx_recorder *recorder = lua_newuserdatauv(L, sizeof(*recorder), 0);
    memset(recorder, 0, sizeof(*recorder) - sizeof(recorder->buffer));
    recorder->fd = -1;
    luaL_setmetatable(L, RECORDER);
    recorder->required = option(L, 3, "required");
    recorder->input = option(L, 3, "input");
    recorder->passwords = option(L, 3, "passwords");
    recorder->window.ws_row = size_option(L, 3, "rows");
    recorder->window.ws_col = size_option(L, 3, "columns");
    lua_getfield(L, 3, "max_size");
    recorder->max_size = (off_t)luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    recorder->began = clock_now();
    recorder->fd = ctx_check_fd(L, 1);
    write_all(recorder, header, length);
    write_all(recorder, "\n", 1);
    if (recorder->error != 0) {
        recorder->fd = -1;
        return ctx_error(L, recorder->error, "write");
    }
    ctx_release_fd(L, 1);
    return 1;
}

/***
Records what a stream carried, with the time now.

@function recorder:record
@tparam string stream "output", "error" or "input" (left out, unless the recorder was made with `input`)
@tparam string data
@treturn[1] bool true
@return[2] nil the recording is required and could not be written
@treturn[2] string error message
@treturn[2] int errno
*/
static int record(lua_State *L)
{
    static const char *const NAMES[] = {"input", "output", "error", NULL};
    struct ctx_recorder *recorder = ctx_check_recorder(L, 1);
    enum ctx_stream stream = (enum ctx_stream)luaL_checkoption(L, 2, NULL, NAMES);
    size_t size = 0;
    const char *data = luaL_checklstring(L, 3, &size);
    if (stream != CTX_STREAM_INPUT || ctx_records_input(recorder, -1)) {
        ctx_record(recorder, stream, data, size);
    }
    return result(L, failure(recorder));
}

/***
Records the window size of the command's terminal, if it is another than before.

@function recorder:resize
@tparam int rows 1 to 65535
@tparam int columns 1 to 65535
*/
static int resize(lua_State *L)
{
    struct ctx_recorder *recorder = ctx_check_recorder(L, 1);
    lua_Integer rows = luaL_checkinteger(L, 2);
    lua_Integer columns = luaL_checkinteger(L, 3);
    struct winsize window = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    luaL_argcheck(L, rows > 0 && rows <= UINT16_MAX, 2, "not in 1 to 65535");
    luaL_argcheck(L, columns > 0 && columns <= UINT16_MAX, 3, "not in 1 to 65535");
    record_size(recorder, &window);
    return 0;
}

/***
Writes the lines that have waited for a second. Must be called at least once a second while the command runs.

@function recorder:tick
@treturn[1] bool true
@return[2] nil the recording is required and could not be written
@treturn[2] string error message
@treturn[2] int errno
*/
static int tick(lua_State *L)
{
    struct ctx_recorder *recorder = ctx_check_recorder(L, 1);
    bool limited = false;
    struct timespec left;
    return result(L, ctx_recorder_tick(recorder, &left, &limited));
}

/***
Writes what is left and closes the file. A second call gives the same answer.

@function recorder:finish
@treturn[1] bool true: all is in the file
@return[2] nil
@treturn[2] string error message
@treturn[2] int errno of the write that failed, now or before, required or not
*/
static int finish(lua_State *L)
{
    struct ctx_recorder *recorder = ctx_check_recorder(L, 1);
    for (int stream = 0; stream < CTX_STREAM_COUNT && is_recording(recorder); stream++) {
        struct decoder *decoder = &recorder->decoders[stream];
        if (decoder->missing > 0) {
            char *out = begin_event(recorder, stream == CTX_STREAM_INPUT ? 'i' : 'o');
            end_event(recorder, put_rest(out, decoder));
        }
    }
    if (recorder->fd >= 0) {
        flush(recorder);
        if (close(recorder->fd) != 0 && recorder->error == 0) {
            recorder->error = errno;
        }
        recorder->fd = -1;
    }
    return result(L, recorder->error);
}

/***
The size of the file: what has been written so far.

@function recorder:size
@treturn int bytes
*/
static int file_size(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)ctx_check_recorder(L, 1)->size);
    return 1;
}

static int collect(lua_State *L)
{
    lua_settop(L, 1);
    finish(L);
    return 0;
}

/***
A text as a JSON string, in quotation marks, with the rules for recorded data.

@function quote
@tparam string text
@treturn string
*/
static int quote(lua_State *L)
{
    size_t size = 0;
    const char *text = luaL_checklstring(L, 1, &size);
    struct decoder decoder = {0};
    luaL_Buffer buffer;
    char *begin = luaL_buffinitsize(L, &buffer, 6 * size + sizeof("\"\"") + 3);
    char *out = begin;
    *out++ = '"';
    for (size_t i = 0; i < size; i++) {
        out = put_byte(out, &decoder, (unsigned char)text[i]);
    }
    out = put_rest(out, &decoder);
    *out++ = '"';
    luaL_pushresultsize(&buffer, (size_t)(out - begin));
    return 1;
}

int ctx_open_recorder(lua_State *L)
{
    static const luaL_Reg METHODS[] = {
        {"record", record}, {"resize", resize},  {"tick", tick},
        {"finish", finish}, {"size", file_size}, {NULL, NULL},
    };
    static const luaL_Reg METAMETHODS[] = {{"__close", collect}, {"__gc", collect}, {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {{"new", new}, {"quote", quote}, {NULL, NULL}};
    luaL_newmetatable(L, RECORDER);
    luaL_setfuncs(L, METAMETHODS, 0);
    luaL_newlib(L, METHODS);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
