/* The commands: each takes the whole command line (argv[0] is the program), prints what there is to say and returns the
 * exit code. Each is in a file of its own, command_NAME.c.
 */
#ifndef CVV_MOUNT_HELPER_COMMANDS_H
#define CVV_MOUNT_HELPER_COMMANDS_H

/* `cvv mount …`: the options start at argv[2]. */
int command_mount(int argc, char **argv);
/* mount.cvv and mount.fuse.cvv, called by mount(8): the options start at argv[1]. Returns mount(8)'s codes: 1 usage, 32
 * failure. */
int command_mount_helper(int argc, char **argv);

/* `cvv copy …`, and `cvv SOURCE TARGET…`, where the arguments start at argv[1]. */
int command_copy(int argc, char **argv);

int command_status(int argc, char **argv);
int command_ctl(int argc, char **argv);

int command_umount(int argc, char **argv);
/* umount.cvv and umount.fuse.cvv, called by umount(8): MOUNTPOINT [-nlfvr] [-N NAMESPACE] [-t TYPE]. Returns umount(8)'s
 * codes. */
int command_umount_helper(int argc, char **argv);

#endif
