/** Files are held against their checksums piece by piece: small beside the file, and a good size to read at once. */
export const PIECE_BYTES = 1024 * 1024;
