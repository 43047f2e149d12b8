/* Reading a plan: shared by the helper, which must not trust a block that was cut short, and the fuzzer. */
#include "plan.h"

#include <limits.h>

static bool overlaps(struct plan_list slots, uint32_t spare, uint64_t from, uint64_t to)
{
    return from < slots.offset + ((uint64_t)slots.count + spare) * 8 && slots.offset < to;
}

/* Whether these bytes of the block overlap the slots of args or env. The helper overwrites the slots with
 * pointers, so nothing that it reads later may lie there. */
static bool in_slots(const struct plan *plan, uint64_t from, uint64_t to)
{
    return overlaps(plan->args, PLAN_ARGS_SPARE, from, to) || overlaps(plan->env, PLAN_ENV_SPARE, from, to);
}

/* A malformed plan can name any offset, so no reference is followed before it has passed these tests. */
static bool text_valid(const struct plan *plan, size_t size, struct plan_text text)
{
    if (text.offset == 0) {
        return text.length == 0;
    }
    if (text.offset < sizeof(*plan) || text.offset >= size || text.length >= size - text.offset) {
        return false;
    }
    const char *bytes = (const char *)plan + text.offset;
    for (uint32_t i = 0; i < text.length; i++) {
        if (bytes[i] == '\0') {
            return false;
        }
    }
    return bytes[text.length] == '\0' &&
           !in_slots(plan, text.offset, (uint64_t)text.offset + text.length + 1);
}

static bool list_inside(size_t size, struct plan_list list, size_t element, uint32_t spare)
{
    if (list.offset % 8 != 0 || list.offset < sizeof(struct plan) || list.offset > size) {
        return false;
    }
    return list.count <= PLAN_MAX_SIZE && ((uint64_t)list.count + spare) * element <= size - list.offset;
}

static bool list_valid(const struct plan *plan, size_t size, struct plan_list list, size_t element)
{
    if (list.offset == 0) {
        return list.count == 0;
    }
    return list_inside(size, list, element, 0) &&
           !in_slots(plan, list.offset, list.offset + (uint64_t)list.count * element);
}

static bool slots_valid(const struct plan *plan, size_t size)
{
    return list_inside(size, plan->args, 8, PLAN_ARGS_SPARE) &&
           list_inside(size, plan->env, 8, PLAN_ENV_SPARE) &&
           !overlaps(plan->args, PLAN_ARGS_SPARE, plan->env.offset,
                     plan->env.offset + ((uint64_t)plan->env.count + PLAN_ENV_SPARE) * 8);
}

/* Every string of args and env must start inside the block and end before its end. */
static bool strings_valid(const struct plan *plan, size_t size, struct plan_list list)
{
    const uint64_t *offsets = plan_list(plan, list);
    for (uint32_t i = 0; i < list.count; i++) {
        uint64_t at = offsets[i];
        if (at < sizeof(*plan) || at >= size) {
            return false;
        }
        const char *bytes = (const char *)plan;
        while (at < size && bytes[at] != '\0') {
            at++;
        }
        if (at == size || in_slots(plan, offsets[i], at + 1)) {
            return false;
        }
    }
    return true;
}

static bool mounts_valid(const struct plan *plan, size_t size)
{
    const struct plan_mount *mounts = plan_list(plan, plan->mounts);
    for (uint32_t i = 0; i < plan->mounts.count; i++) {
        if (mounts[i].fd < 0 || mounts[i].target.offset == 0 || !text_valid(plan, size, mounts[i].target) ||
            !text_valid(plan, size, mounts[i].links)) {
            return false;
        }
    }
    return true;
}

bool plan_check(const struct plan *plan, size_t size)
{
    if (size < sizeof(*plan) || size > PLAN_MAX_SIZE || plan->size != size || plan->magic != PLAN_MAGIC ||
        plan->version != PLAN_VERSION || !slots_valid(plan, size)) {
        return false;
    }
    const struct plan_text texts[] = {
        plan->exec_attribute, plan->exec_label, plan->key_label, plan->keyring, plan->cwd,
        plan->path,           plan->read};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!text_valid(plan, size, texts[i])) {
            return false;
        }
    }
    const struct {
        struct plan_list list;
        size_t element;
    } lists[] = {
        {plan->tasks, sizeof(int32_t)},
        {plan->rlimits, sizeof(struct plan_rlimit)},
        {plan->initial_affinity, 8},
        {plan->final_affinity, 8},
        {plan->memory_nodes, 8},
        {plan->mounts, sizeof(struct plan_mount)},
        {plan->groups, 4},
        {plan->seccomp, 8},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (!list_valid(plan, size, lists[i].list, lists[i].element)) {
            return false;
        }
    }
    if (plan->args.count == 0 || plan->cwd.offset == 0 || plan->tasks.count > PLAN_MAX_FDS ||
        plan->seccomp.count > USHRT_MAX || plan->preserve_fds < 0 ||
        (plan->exec_label.offset != 0 && plan->exec_attribute.offset == 0)) {
        return false;
    }
    return strings_valid(plan, size, plan->args) && strings_valid(plan, size, plan->env) &&
           mounts_valid(plan, size);
}

const char *plan_text(const struct plan *plan, struct plan_text text)
{
    return text.offset == 0 ? NULL : (const char *)plan + text.offset;
}

const void *plan_list(const struct plan *plan, struct plan_list list)
{
    return (const char *)plan + list.offset;
}
