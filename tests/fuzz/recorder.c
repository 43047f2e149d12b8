/* What a command writes becomes an asciicast: whatever the bytes are and however they were cut, each line of
 * the file is one event, no control character and no half of a UTF-8 sequence is in it, and the events say
 * together what the bytes say. The input: a byte for the pieces and the stream, then what the stream carried.
 */
#include "../../core/core.h"
#include "fuzz.h"
#include "lua.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A growing text. */
struct text {
    char *bytes;
    size_t size;
};

static void add(struct text *text, const char *bytes, size_t size)
{
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

/* How many bytes of a well formed UTF-8 sequence are at the start, and whether it is whole; by the table of
 * RFC 3629. */
static size_t sequence(const uint8_t *at, size_t size, bool *whole)
{
    static const uint8_t table[][5] = {
        /* first, last, of the second byte the first and last, length */
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    *whole = false;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        const uint8_t *row = table[i];
        size_t length = 1;
        if (*at < row[0] || *at > row[1]) {
            continue;
        }
        while (length < row[4] && length < size && at[length] >= (length == 1 ? row[2] : 0x80) &&
               at[length] <= (length == 1 ? row[3] : 0xbf)) {
            length++;
        }
        *whole = length == row[4];
        return length;
    }
    return 1;
}

/* What the events have to say: each malformed sequence replaced, and a return before each newline of
 * output. */
static void expect(struct text *text, const uint8_t *data, size_t size, bool is_output)
{
    bool whole;
    uint8_t last = 0;

    for (size_t at = 0; at < size;) {
        const size_t length = sequence(data + at, size - at, &whole);
        if (is_output && data[at] == '\n' && last != '\r') {
            add(text, "\r", 1);
        }
        if (whole) {
            add(text, (const char *)data + at, length);
        } else {
            add(text, "\xef\xbf\xbd", 3);
        }
        last = data[at + length - 1];
        at += length;
    }
}

/* One character of a JSON string: its bytes, and how many bytes of the file it takes. */
static size_t unescape(const char *at, const char *end, struct text *text)
{
    static const char from[] = "nrt\"\\";
    static const char to[] = "\n\r\t\"\\";

    if (*at != '\\') {
        HOLDS((unsigned char)*at >= ' ' && *at != 0x7f);
        HOLDS(*at != '\xc2' || (unsigned char)at[1] >= 0xa0);
        add(text, at, 1);
        return 1;
    }
    HOLDS(end - at >= 2);
    const char *simple = strchr(from, at[1]);
    if (simple != NULL) {
        add(text, to + (simple - from), 1);
        return 2;
    }
    HOLDS(end - at >= 6 && memcmp(at, "\\u00", 4) == 0);
    const uint64_t code = number_at((struct ctx_text){at + 4, at + 6}, 16);
    const char bytes[] = {'\xc2', (char)code};
    add(text, code < 0x80 ? bytes + 1 : bytes, code < 0x80 ? 1 : 2);
    return 6;
}

/* `[seconds, "CODE", "data"]` */
static void read_event(struct ctx_text line, char code, struct text *text)
{
    static const char middle[] = ", \"?\", \"";
    const char *at = memchr(line.at, ',', ctx_text_size(line));

    HOLDS(*line.at == '[' && at != NULL && line.end - at >= (ptrdiff_t)sizeof(middle) + 1);
    HOLDS(at[3] == code && memcmp(at, middle, 3) == 0 && memcmp(at + 4, middle + 4, sizeof(middle) - 5) == 0);
    HOLDS(line.end[-1] == ']' && line.end[-2] == '"');
    at += sizeof(middle) - 1;
    while (at < line.end - 2) {
        HOLDS(*at != '"');
        at += unescape(at, line.end - 2, text);
    }
    HOLDS(at == line.end - 2);
}

/* Calls a method of the recorder at 1 with the arguments above `top`; it must succeed. */
static void call(lua_State *L, const char *method, int top)
{
    lua_getfield(L, 1, method);
    lua_insert(L, top + 1);
    lua_pushvalue(L, 1);
    lua_insert(L, top + 2);
    HOLDS(lua_pcall(L, lua_gettop(L) - top - 1, 1, 0) == LUA_OK && lua_toboolean(L, -1));
    lua_settop(L, top);
}

/* Leaves the recorder at 1. */
static void begin(lua_State *L, int file)
{
    lua_settop(L, 0);
    ctx_open_fd(L);
    ctx_open_recorder(L);
    lua_getfield(L, -1, "new");
    ctx_push_fd(L, dup(file));
    lua_pushliteral(L, "{}");
    lua_newtable(L);
    lua_pushboolean(L, true);
    lua_setfield(L, -2, "input");
    HOLDS(lua_pcall(L, 3, 1, 0) == LUA_OK && lua_isuserdata(L, -1));
    lua_replace(L, 1);
    lua_settop(L, 1);
}

static void record(lua_State *L, const uint8_t *data, size_t size, const char *stream, unsigned pieces)
{
    while (size > 0) {
        size_t piece = pieces % 5 == 0 ? size : 1 + pieces % 11;
        piece = piece < size ? piece : size;
        lua_pushstring(L, stream);
        lua_pushlstring(L, (const char *)data, piece);
        call(L, "record", 1);
        data += piece;
        size -= piece;
        pieces = pieces * 1103515245 + 12345;
    }
    call(L, "finish", 1);
}

/* The events of the file, without the header. */
static void read_file(int file, char code, struct text *text)
{
    const off_t size = lseek(file, 0, SEEK_END);
    char *bytes = malloc((size_t)size);
    struct ctx_text line;

    HOLDS(bytes != NULL && pread(file, bytes, (size_t)size, 0) == size);
    HOLDS(bytes[size - 1] == '\n');
    struct ctx_text rest = ctx_text(bytes, (size_t)size);
    HOLDS(ctx_text_next(&rest, '\n', &line) && ctx_text_is(line, "{}"));
    while (ctx_text_next(&rest, '\n', &line)) {
        read_event(line, code, text);
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_lua();
    const int file = size > 0 ? memfd_create("recording", MFD_CLOEXEC) : -1;
    /* no byte becomes more than three */
    struct text said = {.bytes = malloc(3 * size + 1)};
    struct text expected = {.bytes = malloc(3 * size + 1)};

    if (file >= 0 && said.bytes != NULL && expected.bytes != NULL) {
        const bool is_output = data[0] % 2 == 0;
        begin(L, file);
        record(L, data + 1, size - 1, is_output ? "output" : "input", data[0] * 2654435761U);
        read_file(file, is_output ? 'o' : 'i', &said);
        expect(&expected, data + 1, size - 1, is_output);
        HOLDS(said.size == expected.size && memcmp(said.bytes, expected.bytes, said.size) == 0);
        lua_settop(L, 0);
    }
    close(file);
    free(said.bytes);
    free(expected.bytes);
    return 0;
}
