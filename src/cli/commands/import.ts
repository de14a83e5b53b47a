/** `import`, which takes its archive as `load` does. */
export { defineImport as define } from "./load.ts";
