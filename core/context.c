#include "core/context.h"

uint64_t context_room_serial(struct context *context)
{
        MUTEX_SCOPE(&context->room_lock);
        return context->room_serial;
}

void context_room_signal(struct context *context)
{
        MUTEX_SCOPE(&context->room_lock);
        context->room_serial++;
        condition_broadcast(&context->room_changed);
}

void context_room_wait(struct context *context, uint64_t serial)
{
        MUTEX_SCOPE(&context->room_lock);
        while (context->room_serial == serial)
                condition_wait(&context->room_changed, &context->room_lock);
}

void context_room_wait_until(struct context *context, uint64_t serial, uint64_t deadline_ns)
{
        MUTEX_SCOPE(&context->room_lock);
        while (context->room_serial == serial &&
               condition_wait_until(&context->room_changed, &context->room_lock, deadline_ns))
                ;
}
