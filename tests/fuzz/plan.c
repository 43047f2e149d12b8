/* The plan, as the helper reads it: every reference of a block that plan_check() accepts can be followed as
 * the helper follows it, in place, and nothing outside the block is touched. The block is an allocation of
 * just its size, so that the address sanitizer sees every step outside. */
#include "../../core/common/plan.h"
#include "fuzz.h"

#include <limits.h>
#include <string.h>

/* ---- following ---- */

/* Reads every byte, so that the sanitizer sees it. */
static unsigned touch(const void *bytes, size_t count)
{
    unsigned sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += ((const volatile unsigned char *)bytes)[i];
    }
    return sum;
}

static void follow_text(const struct plan *plan, struct plan_text text)
{
    const char *string = plan_text(plan, text);

    HOLDS(string == NULL || strlen(string) == text.length);
}

static void follow_list(const struct plan *plan, struct plan_list list, size_t element)
{
    const void *elements = plan_list(plan, list);

    HOLDS((uintptr_t)elements % 8 == 0);
    touch(elements, list.count * element);
}

/* core/enter/mounts.c: the target's folder and name, and the links beside it. */
static void follow_mounts(const struct plan *plan)
{
    const struct plan_mount *mounts = plan_list(plan, plan->mounts);

    for (uint32_t i = 0; i < plan->mounts.count; i++) {
        const char *links = plan_text(plan, mounts[i].links);
        HOLDS(mounts[i].fd >= 0 && plan_text(plan, mounts[i].target) != NULL);
        follow_text(plan, mounts[i].target);
        for (const char *end; links != NULL && (end = strchr(links, '\n')) != NULL; links = end + 1) {
            touch(links, (size_t)(end - links));
        }
    }
}

/* set_home(): an empty HOME is replaced, else one more string follows the last. */
static void set_home(struct plan *plan, uint32_t slot)
{
    static char home[] = "HOME=/";
    uint64_t *env = (uint64_t *)((char *)plan + plan->env.offset);

    plan->env.count += slot == plan->env.count;
    env[slot] = (uint64_t)(uintptr_t)home - (uint64_t)(uintptr_t)plan;
}

/* pointers(): from offsets to pointers, in place. */
static char **pointers(struct plan *plan, struct plan_list list)
{
    uint64_t *slots = (uint64_t *)((char *)plan + list.offset);

    for (uint32_t i = 0; i < list.count; i++) {
        slots[i] += (uint64_t)(uintptr_t)plan;
    }
    slots[list.count] = 0;
    return (char **)slots;
}

/* The strings of a list that still holds offsets, one after the other, each with its NUL. */
static char *copy_strings(const struct plan *plan, struct plan_list list)
{
    const uint64_t *offsets = plan_list(plan, list);
    size_t size = 1;
    size_t used = 0;

    for (uint32_t i = 0; i < list.count; i++) {
        size += strlen((const char *)plan + offsets[i]) + 1;
    }
    char *copy = malloc(size);
    HOLDS(copy != NULL);
    for (uint32_t i = 0; i < list.count; i++) {
        const char *string = (const char *)plan + offsets[i];
        memcpy(copy + used, string, strlen(string) + 1);
        used += strlen(string) + 1;
    }
    return copy;
}

/* Checks that the strings are those of the copy, but for the one in the slot `except`. Frees the copy. */
static void compare_strings(char *copy, char **strings, uint32_t count, uint32_t except)
{
    const char *expected = copy;

    for (uint32_t i = 0; i < count; i++) {
        HOLDS(i == except || strcmp(strings[i], expected) == 0);
        expected += strlen(expected) + 1;
    }
    free(copy);
}

/* The slot of the environment that HOME will take. */
static uint32_t home_slot(const struct plan *plan)
{
    const uint64_t *env = plan_list(plan, plan->env);
    uint32_t slot = 0;

    while (slot < plan->env.count && strcmp((const char *)plan + env[slot], "HOME=") != 0) {
        slot++;
    }
    return slot;
}

/* What the helper writes in place must not change what it reads after that. */
static void follow_strings(struct plan *plan)
{
    char *args_before = copy_strings(plan, plan->args);
    char *env_before = copy_strings(plan, plan->env);
    const uint32_t env_count = plan->env.count;
    const uint32_t slot = home_slot(plan);

    set_home(plan, slot);
    char **env = pointers(plan, plan->env);
    char **args = pointers(plan, plan->args);
    HOLDS(plan->args.count > 0 && args[plan->args.count] == NULL && env[plan->env.count] == NULL);
    compare_strings(args_before, args, plan->args.count, UINT32_MAX);
    compare_strings(env_before, env, env_count, slot);
}

static void follow(struct plan *plan)
{
    const struct plan_text texts[] = {plan->exec_attribute, plan->exec_label, plan->key_label, plan->keyring,
                                      plan->read,           plan->cwd,        plan->path};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        follow_text(plan, texts[i]);
    }
    HOLDS(plan_text(plan, plan->cwd) != NULL);
    HOLDS(plan->exec_label.offset == 0 || plan_text(plan, plan->exec_attribute) != NULL);
    HOLDS(plan->preserve_fds >= 0);
    HOLDS(plan->seccomp.count <= USHRT_MAX); /* struct sock_fprog */
    follow_list(plan, plan->tasks, sizeof(int32_t));
    follow_list(plan, plan->rlimits, sizeof(struct plan_rlimit));
    follow_list(plan, plan->initial_affinity, 8);
    follow_list(plan, plan->final_affinity, 8);
    follow_list(plan, plan->memory_nodes, 8);
    follow_list(plan, plan->groups, sizeof(uint32_t));
    follow_list(plan, plan->seccomp, 8);
    follow_mounts(plan);
    follow_strings(plan);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        follow_text(plan, texts[i]);
    }
    follow_mounts(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan *plan = malloc(size);

    if (plan == NULL || size < sizeof(*plan)) {
        free(plan);
        return 0;
    }
    memcpy(plan, data, size);
    if (plan_check(plan, size)) {
        follow(plan);
    }
    free(plan);
    return 0;
}

/* ---- making plans, which chance alone would not make ---- */

struct block {
    uint8_t *bytes;
    size_t room;
    size_t used;
};

static uint32_t append(struct block *block, const void *bytes, size_t count)
{
    const size_t at = block->used;

    if (count > block->room - at) {
        return 0;
    }
    memcpy(block->bytes + at, bytes, count);
    block->used += count;
    return (uint32_t)at;
}

static struct plan_text append_text(struct block *block, const char *text)
{
    return (struct plan_text){append(block, text, strlen(text) + 1), (uint32_t)strlen(text)};
}

static struct plan_list append_list(struct block *block, const void *elements, uint32_t count, size_t element,
                                    size_t spare)
{
    static const uint64_t zeros[2] = {0};
    append(block, zeros, (8 - block->used % 8) % 8);
    const struct plan_list list = {append(block, elements, count * element), count};
    append(block, zeros, spare * element);
    return list;
}

/* A plan in which almost every field has a value. */
static size_t sample(uint8_t *data, size_t room)
{
    struct block block = {.bytes = data, .room = room, .used = sizeof(struct plan)};
    struct plan plan = {.magic = PLAN_MAGIC, .version = PLAN_VERSION};
    const uint64_t words[] = {1, 2, 3};

    if (room < sizeof(plan) + 512) {
        return 0;
    }
    plan.exec_attribute = append_text(&block, "exec");
    plan.exec_label = append_text(&block, "exec web");
    plan.key_label = append_text(&block, "label");
    plan.keyring = append_text(&block, "_ses.web");
    plan.cwd = append_text(&block, "/");
    plan.path = append_text(&block, "/bin:/usr/bin");
    uint64_t strings[] = {append(&block, "true", 5), append(&block, "", 1)};
    plan.args = append_list(&block, strings, 2, 8, 1);
    strings[0] = append(&block, "PATH=/bin", 10);
    strings[1] = append(&block, "HOME=", 6);
    plan.env = append_list(&block, strings, 2, 8, 2);
    plan.tasks = append_list(&block, (const int32_t[]){5, 6}, 2, sizeof(int32_t), 0);
    plan.rlimits =
        append_list(&block, &(struct plan_rlimit){.resource = 7}, 1, sizeof(struct plan_rlimit), 0);
    plan.initial_affinity = append_list(&block, words, 1, 8, 0);
    plan.final_affinity = append_list(&block, words, 3, 8, 0);
    plan.memory_nodes = append_list(&block, words, 2, 8, 0);
    plan.groups = append_list(&block, words, 3, sizeof(uint32_t), 0);
    const struct plan_mount mount = {
        .fd = 9, .target = append_text(&block, "/opt/tool"), .links = append_text(&block, "sh\nls\n")};
    plan.mounts = append_list(&block, &mount, 1, sizeof(mount), 0);
    plan.seccomp = append_list(&block, words, 2, 8, 0);
    plan.size = (uint32_t)block.used;
    memcpy(data, &plan, sizeof(plan));
    return block.used;
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* Where mistakes are made: at and beside the borders of the block and of what is in it. */
static uint32_t border(const struct plan *plan, size_t size, uint32_t *random)
{
    const uint32_t borders[] = {
        0,
        sizeof(*plan),
        (uint32_t)size,
        plan->args.offset,
        plan->args.offset + 8 * plan->args.count,
        plan->env.offset,
        plan->env.offset + 8 * plan->env.count,
        plan->mounts.offset,
        ((uint32_t)size - plan->args.offset) / 8,
        ((uint32_t)size - plan->env.offset) / 8,
        USHRT_MAX,
        UINT32_MAX,
        UINT32_MAX / 8,
    };
    return borders[next_random(random) % (sizeof(borders) / sizeof(*borders))] + next_random(random) % 33 -
           16;
}

/* Changes one of the pairs of numbers from exec_attribute to seccomp, or one number in the lists. */
static void move_reference(uint8_t *data, size_t size, uint32_t *random)
{
    static const size_t pairs[] = {
        offsetof(struct plan, tasks),
        offsetof(struct plan, exec_attribute),
        offsetof(struct plan, exec_label),
        offsetof(struct plan, key_label),
        offsetof(struct plan, rlimits),
        offsetof(struct plan, initial_affinity),
        offsetof(struct plan, final_affinity),
        offsetof(struct plan, keyring),
        offsetof(struct plan, memory_nodes),
        offsetof(struct plan, mounts),
        offsetof(struct plan, read),
        offsetof(struct plan, cwd),
        offsetof(struct plan, env),
        offsetof(struct plan, args),
        offsetof(struct plan, path),
        offsetof(struct plan, groups),
        offsetof(struct plan, seccomp),
    };
    struct plan plan;
    memcpy(&plan, data, sizeof(plan));
    uint32_t value = border(&plan, size, random);
    size_t at = pairs[next_random(random) % (sizeof(pairs) / sizeof(*pairs))] +
                (next_random(random) % 2 == 0 ? 0 : 4);
    if (next_random(random) % 4 == 0 &&
        size > sizeof(plan) + 8) { /* in the data: an offset of a string, a mount */
        at = sizeof(plan) + next_random(random) % (size - sizeof(plan) - 4);
        at -= next_random(random) % 2 ? at % 8 : 0;
    }
    memcpy(data + at, &value, sizeof(value));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    uint32_t random = seed;

    if (size < sizeof(struct plan) || next_random(&random) % 64 == 0) {
        size = sample(data, max_size);
    }
    if (size < sizeof(struct plan)) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    if (next_random(&random) % 4 == 0) {
        const size_t data_size = LLVMFuzzerMutate(data + sizeof(struct plan), size - sizeof(struct plan),
                                                  max_size - sizeof(struct plan));
        size = sizeof(struct plan) + data_size;
    } else if (next_random(&random) % 8 == 0) {
        size -= next_random(&random) % (size - sizeof(struct plan) + 1) % 40;
    } else {
        move_reference(data, size, &random);
    }
    /* a size that is wrong is refused before anything else is looked at */
    const uint32_t total = (uint32_t)size;
    if (next_random(&random) % 16 != 0) {
        memcpy(data + offsetof(struct plan, size), &total, sizeof(total));
    }
    return size;
}
