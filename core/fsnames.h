/* What a filesystem cannot hold, as far as that is known before it is tried: names with characters that it does not know, and files that are
 * too large for it. A pure table; no I/O. A filesystem that is not in it is believed to hold everything: what it then refuses fails there.
 */
#ifndef CVV_CORE_FSNAMES_H
#define CVV_CORE_FSNAMES_H

#include <stdbool.h>
#include <stdint.h>

/* Why a filesystem of that type (f_type of statfs) cannot hold a file of that name (one component) and size: one clause, static; NULL where
 * nothing is known against it. */
const char *fsnames_refusal(uint64_t fs_type, const char *name, uint64_t size);
/* Holes in a file take no space there. */
bool fsnames_holds_holes(uint64_t fs_type);

#endif
