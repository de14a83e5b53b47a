/**
 * The command line as two files, CommonJS both, because Node reads one such file several times as fast as a hundred
 * modules: `main.js`, which is executed (src/cli/launch.ts), and `bundle.js`, the program, in which a module is set up
 * when it is first asked for. They stand as deep as the files that they are made of: what is found relative to
 * import.meta.url is still where it was.
 */
const dir = process.env.FLAMEBOX_BUNDLE_DIR;

/** In strings and regular expressions alone are there others, and both know this way of writing them. */
const oneByteCharacters = {
  name: "one-byte-characters",
  generateBundle: (_options, bundle) => {
    for (const chunk of Object.values(bundle)) {
      if (chunk.type !== "chunk") continue;
      // eslint-disable-next-line no-control-regex
      chunk.code = chunk.code.replaceAll(/[^\0-\x7f]/g, (unit) => {
        return String.raw`\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
      });
    }
  },
};

const common = { format: "cjs", dir, codeSplitting: false, sourcemap: true };

export default [
  {
    input: "dist/cli/main.js",
    platform: "node",
    // Loaded by parts, where it is used at all.
    external: ["undici"],
    plugins: [oneByteCharacters],
    output: {
      ...common,
      entryFileNames: "bundle.js",
      minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
    },
  },
  {
    input: "dist/cli/launch.js",
    platform: "node",
    output: { ...common, entryFileNames: "main.js" },
  },
];
