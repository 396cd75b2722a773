#include "core/fsnames.h"

#include <stddef.h>

#define VFAT UINT64_C(0x4d44)
#define EXFAT UINT64_C(0x2011bab0)
#define HFSPLUS UINT64_C(0x482b)
#define HFS UINT64_C(0x4244)

static const struct limits {
        uint64_t fs_type;
        const char *illegal; /* characters beside control characters */
        uint64_t size_max;   /* 0: larger than any file */
} table[] = {
        { VFAT, "\"*:<>?\\|", UINT32_MAX },
        { EXFAT, "\"*:<>?\\|", 0 },
};

static bool has_illegal(const char *name, const char *illegal)
{
        for (; *name; name++) {
                if ((unsigned char)*name < 0x20)
                        return true;
                for (const char *one = illegal; *one; one++)
                        if (*name == *one)
                                return true;
        }
        return false;
}

const char *fsnames_refusal(uint64_t fs_type, const char *name, uint64_t size)
{
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                if (table[i].fs_type != fs_type)
                        continue;
                if (has_illegal(name, table[i].illegal))
                        return "the name has characters that its filesystem does not know";
                if (table[i].size_max != 0 && size > table[i].size_max)
                        return "the file is larger than its filesystem can hold";
        }
        return NULL;
}

bool fsnames_holds_holes(uint64_t fs_type)
{
        return fs_type != VFAT && fs_type != EXFAT && fs_type != HFSPLUS && fs_type != HFS;
}
