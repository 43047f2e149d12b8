/* Reading a plan: shared by the helper, which must not trust a block that was cut short, and the fuzzer. */
#include "plan.h"

/* A block from elsewhere could name any offset: nothing is followed before these tests. */
static bool text_valid(const struct plan *plan, size_t size, struct plan_text text)
{
    if (text.offset == 0)
        return text.length == 0;
    if (text.offset < sizeof(*plan) || text.offset >= size || text.length >= size - text.offset)
        return false;
    const char *bytes = (const char *)plan + text.offset;
    for (uint32_t i = 0; i < text.length; i++)
        if (bytes[i] == '\0')
            return false;
    return bytes[text.length] == '\0';
}

static bool list_valid(const struct plan *plan, size_t size, struct plan_list list, size_t element,
                       size_t spare)
{
    if (list.offset == 0)
        return list.count == 0 && spare == 0;
    if (list.offset % 8 != 0 || list.offset < sizeof(*plan) || list.offset > size)
        return false;
    return list.count <= PLAN_MAX_SIZE && ((uint64_t)list.count + spare) * element <= size - list.offset;
}

/* Every string of args and env must start inside the block and end before its end. */
static bool strings_valid(const struct plan *plan, size_t size, struct plan_list list)
{
    const uint64_t *offsets = plan_list(plan, list);
    for (uint32_t i = 0; i < list.count; i++) {
        uint64_t at = offsets[i];
        if (at < sizeof(*plan) || at >= size)
            return false;
        const char *bytes = (const char *)plan;
        while (at < size && bytes[at] != '\0')
            at++;
        if (at == size)
            return false;
    }
    return true;
}

static bool mounts_valid(const struct plan *plan, size_t size)
{
    const struct plan_mount *mounts = plan_list(plan, plan->mounts);
    for (uint32_t i = 0; i < plan->mounts.count; i++)
        if (mounts[i].fd < 0 || mounts[i].target.offset == 0 || !text_valid(plan, size, mounts[i].target) ||
            !text_valid(plan, size, mounts[i].links))
            return false;
    return true;
}

bool plan_check(const struct plan *plan, size_t size)
{
    if (size < sizeof(*plan) || size > PLAN_MAX_SIZE || plan->size != size || plan->magic != PLAN_MAGIC ||
        plan->version != PLAN_VERSION)
        return false;
    const struct plan_text texts[] = {
        plan->exec_attribute, plan->exec_label, plan->key_label, plan->keyring, plan->cwd,
        plan->path,           plan->read};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!text_valid(plan, size, texts[i]))
            return false;
    const struct {
        struct plan_list list;
        size_t element, spare;
    } lists[] = {
        {plan->tasks, sizeof(int32_t), 0},
        {plan->rlimits, sizeof(struct plan_rlimit), 0},
        {plan->initial_affinity, 8, 0},
        {plan->final_affinity, 8, 0},
        {plan->memory_nodes, 8, 0},
        {plan->mounts, sizeof(struct plan_mount), 0},
        {plan->env, 8, 2},
        {plan->args, 8, 1},
        {plan->groups, 4, 0},
        {plan->seccomp, 8, 0},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        if (!list_valid(plan, size, lists[i].list, lists[i].element, lists[i].spare))
            return false;
    if (plan->args.count == 0 || plan->cwd.offset == 0 || plan->tasks.count > PLAN_MAX_FDS)
        return false;
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
