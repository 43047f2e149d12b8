/* The launcher: the ctrexec command with the interpreter inside. It does what scripts/ctrexec.lua does, and
 * starts faster.
 *
 * It runs the same Lua modules, but Lua, the core, cjson and the seccomp compiler are linked in, so that no
 * library is searched for, mapped and relocated at every start. A static program cannot load modules in C,
 * and the site's own modules may need some: where the configuration names a folder of modules, the launcher
 * executes the script instead, before it has done anything else. (Policies can load nothing but Lua.) */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* The places of the modules, of their compiled form and of the script; the Makefile sets others. */
#ifndef CTX_SHAREDIR
#define CTX_SHAREDIR "/usr/local/share/lua/5.4"
#define CTX_LIBDIR "/usr/local/lib/lua/5.4"
#define CTX_SCRIPT "/usr/local/bin/ctrexec.lua"
#endif

#define FAILED 255 /* ctrexec's status when ctrexec itself fails */

/* lua/ctrexec/command/runtime.lua recognizes every launcher by this note in its first page. */
__asm__(".pushsection .note.ctrexec, \"a\", %note\n"
        ".balign 4\n"
        ".long 8, 8, 1\n"
        ".asciz \"ctrexec\"\n"
        ".asciz \"command\"\n"
        ".popsection");

int luaopen_cjson(lua_State *L);
int luaopen_ctrexec_core(lua_State *L);
int luaopen_ctrexec_core_seccomp(lua_State *L);

/* -------------------------------------------------------------------------------------------------- memory
 *
 * One exec takes some hundred KiB of memory. The arena is mapped and filled at once, which costs less than a
 * page fault for each page. Blocks are taken from its beginning to its end; a block that Lua gives back is
 * used again for a block of the same size, which is what Lua mostly asks for. When the arena is full, malloc
 * takes over. */

enum { ARENA_SIZE = 400 << 10, UNIT = 16, CLASSES = 64 };

/* A block that was given back: the next one of the same size. */
struct hole {
    struct hole *next;
};

struct arena {
    char *start, *next, *end;
    struct hole *holes[CLASSES]; /* blocks of 1, 2, ... units */
};

static void make_arena(struct arena *arena)
{
    const int protection = PROT_READ | PROT_WRITE;
    char *start = mmap(NULL, ARENA_SIZE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    memset(arena, 0, sizeof(*arena));
    if (start != MAP_FAILED) {
        arena->start = arena->next = start;
        arena->end = start + ARENA_SIZE;
    }
}

static size_t units(size_t size)
{
    return (size + UNIT - 1) / UNIT;
}

static void *take(struct arena *arena, size_t size)
{
    const size_t count = units(size);
    if (count <= CLASSES && arena->holes[count - 1] != NULL) {
        struct hole *hole = arena->holes[count - 1];
        arena->holes[count - 1] = hole->next;
        return hole;
    }
    if (count > ARENA_SIZE / UNIT || count * UNIT > (size_t)(arena->end - arena->next)) {
        return malloc(count * UNIT);
    }
    arena->next += count * UNIT;
    return arena->next - count * UNIT;
}

static void give_back(struct arena *arena, void *block, size_t size)
{
    const size_t count = units(size);
    char *start = block;
    struct hole *hole = block;
    if (start < arena->start || start >= arena->end) {
        free(block);
    } else if (start + count * UNIT == arena->next) {
        arena->next = start;
    } else if (count <= CLASSES) {
        hole->next = arena->holes[count - 1];
        arena->holes[count - 1] = hole;
    }
}

/* Lua's allocator (lua_Alloc). */
static void *allocate(void *user, void *block, size_t old, size_t size)
{
    struct arena *arena = user;
    if (size == 0) {
        if (block != NULL) {
            give_back(arena, block, old);
        }
        return NULL;
    }
    if (block != NULL && units(old) == units(size)) {
        return block;
    }
    void *moved = take(arena, size);
    if (block == NULL) {
        return moved;
    }
    if (moved == NULL) {
        return size < old ? block : NULL; /* shrinking must not fail */
    }
    memcpy(moved, block, old < size ? old : size);
    give_back(arena, block, old);
    return moved;
}

/* ------------------------------------------------------------------------------------------------ modules */

/* Registers the function on top of the stack, which it pops, as the one by which `require` opens a module. */
static void preload(lua_State *L, const char *name)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static void require(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

/* Sets package.path or package.cpath. Lua's own values end with the caller's directory, in which any user's
 * files may lie. */
static void set_place(lua_State *L, const char *field, const char *place)
{
    lua_getglobal(L, "package");
    lua_pushstring(L, place);
    lua_setfield(L, -2, field);
    lua_pop(L, 1);
}

/* Replaces Lua's own function for every Lua state of this program, also the keeper's: it adds the modules
 * that are linked in. */
void luaL_openlibs(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},
        {LUA_LOADLIBNAME, luaopen_package},
        {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_IOLIBNAME, luaopen_io},
        {LUA_OSLIBNAME, luaopen_os},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8},
        {LUA_DBLIBNAME, luaopen_debug},
        {NULL, NULL},
    };
    static const luaL_Reg modules[] = {
        {"cjson", luaopen_cjson},
        {"ctrexec.core", luaopen_ctrexec_core},
        {"ctrexec.core.seccomp", luaopen_ctrexec_core_seccomp},
        {NULL, NULL},
    };
    for (const luaL_Reg *library = libraries; library->func != NULL; library++) {
        luaL_requiref(L, library->name, library->func, 1);
        lua_pop(L, 1);
    }
    for (const luaL_Reg *module = modules; module->func != NULL; module++) {
        lua_pushcfunction(L, module->func);
        preload(L, module->name);
    }
}

/* Has `require` look for compiled modules after package.preload and before the sources. */
static void add_precompiled(lua_State *L)
{
    require(L, "ctrexec.core");
    lua_getfield(L, -1, "precompiled");
    lua_getfield(L, -1, "searcher");
    lua_pushliteral(L, CTX_LIBDIR "/ctrexec/precompiled");
    lua_getglobal(L, "package");
    lua_call(L, 2, 1);
    if (lua_isfunction(L, -1)) {
        lua_getglobal(L, "table");
        lua_getfield(L, -1, "insert");
        lua_getglobal(L, "package");
        lua_getfield(L, -1, "searchers");
        lua_replace(L, -2);
        lua_pushinteger(L, 2);
        lua_pushvalue(L, -5);
        lua_call(L, 3, 0);
    }
    lua_settop(L, 0);
}

/* ----------------------------------------------------------------------------------------- the site's code
 */

/* Replace dlopen and dlerror in Lua's loader (ld --wrap). */
void *__wrap_dlopen(const char *path, int flags);
char *__wrap_dlerror(void);

void *__wrap_dlopen(const char *path, int flags)
{
    (void)path;
    (void)flags;
    return NULL;
}

char *__wrap_dlerror(void)
{
    return "this program loads no module in C; ctrexec.lua does";
}

/* `install` of ctrexec.site.modules, which is called as soon as the configuration is read. Instead of
 * installing the site's modules it executes the script, which installs them. The script cannot see the name
 * under which the launcher was called, which may be a runtime's, so --launched-as gives it that path, in the
 * form in which the kernel would give it to a script. */
static int hand_over(lua_State *L)
{
    char **argv = lua_touserdata(L, lua_upvalueindex(1));
    char *path = (char *)getauxval(AT_EXECFN); /* NOLINT(performance-no-int-to-ptr) */
    char *words[] = {(char *)CTX_SCRIPT, (char *)"--launched-as", path != NULL ? path : argv[0]};
    size_t count = 1;
    while (argv[count] != NULL) {
        count++;
    }
    char **all = lua_newuserdatauv(L, (count + 3) * sizeof(*all), 0);
    memcpy(all, words, sizeof(words));
    memcpy(all + 3, argv + 1, count * sizeof(*argv)); /* with the NULL at the end */
    execv(CTX_SCRIPT, all);
    char reason[128];
    return luaL_error(L, "%s, which the site's modules need, cannot be run: %s", CTX_SCRIPT,
                      strerror_r(errno, reason, sizeof(reason)));
}

/* Opens the module that replaces lua/ctrexec/site/modules.lua in this program. */
static int open_replace(lua_State *L)
{
    lua_newtable(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, hand_over, 1);
    lua_setfield(L, -2, "install");
    return 1;
}

/* --------------------------------------------------------------------------------------------------- main */

/* Runs the command line in argv, and returns its exit status. */
static int run(lua_State *L)
{
    char **argv = lua_touserdata(L, 1);
    lua_gc(L, LUA_GCSTOP); /* the process ends soon: collecting garbage costs more than it saves */
    lua_pushboolean(L, 1); /* as lua5.4 -E: the caller's environment must not matter */
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    luaL_openlibs(L);
    set_place(L, "path", CTX_SHAREDIR "/?.lua;" CTX_SHAREDIR "/?/init.lua");
    set_place(L, "cpath", CTX_LIBDIR "/?.so");
    lua_pushlightuserdata(L, argv);
    lua_pushcclosure(L, open_replace, 1);
    preload(L, "ctrexec.site.modules");
    add_precompiled(L);
    lua_newtable(L);
    for (int i = 0; argv[i] != NULL; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, 1, i);
    }
    require(L, "ctrexec.command");
    lua_getfield(L, -1, "main");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int fail(const char *message)
{
    fprintf(stderr, "ctrexec: %s\n", message != NULL ? message : "unknown error");
    return FAILED;
}

int main(int argc, char **argv)
{
    if (argc < 1) {
        return fail("no program name");
    }
    struct arena arena;
    make_arena(&arena);
    lua_State *L = lua_newstate(allocate, &arena);
    if (L == NULL) {
        return fail("out of memory");
    }
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, argv);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        return fail(lua_tostring(L, -1));
    }
    return (int)lua_tointeger(L, -1);
}
