#include "fs/openmode.h"

#include <fcntl.h>

static enum openmode preferred(const struct openmode_question *question)
{
        if (!question->finished || (question->flags & O_DIRECT))
                return OPENMODE_DIRECT;
        if (question->passthrough && !question->second_node && (question->flags & O_ACCMODE) == O_RDONLY)
                return OPENMODE_PASSTHROUGH;
        return OPENMODE_CACHED;
}

enum openmode openmode_decide(const struct openmode_question *question)
{
        enum openmode wanted = preferred(question);

        if (question->open_now == OPENMODE_PASSTHROUGH && wanted != OPENMODE_PASSTHROUGH)
                return OPENMODE_STALE;
        if (wanted == OPENMODE_PASSTHROUGH &&
            (question->open_now == OPENMODE_DIRECT || question->open_now == OPENMODE_CACHED))
                return OPENMODE_CACHED;
        return wanted;
}
