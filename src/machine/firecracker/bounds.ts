/** What a VMM may have of this host, whoever sets it: the jailer, or the program that encloses it. */

/** It has a handful open: memory, disks, sockets, KVM's. */
export const MOST_FILES = 256;
/** The jailer, which is bound by it as well, writes a file with a process id. */
export const LEAST_FILE_BYTES = 4_096;
