/** Every target, by the name that `npm run fuzz` takes. */
import type { FuzzTarget } from "../target.ts";
import { gzip, gzipFrame, zstd, zstdFrameHeads } from "./compression.ts";
import { dockerConfig, helperAnswer } from "./credentials.ts";
import { config, manifest } from "./documents.ts";
import { ext4 } from "./ext4.ts";
import { authHeader, httpHeaders } from "./headers.ts";
import { layerIndex } from "./layer-index.ts";
import { reference } from "./reference.ts";
import { paxHeaders, tar } from "./tar.ts";

export const TARGETS: readonly FuzzTarget[] = [
  tar,
  paxHeaders,
  gzip,
  gzipFrame,
  zstd,
  zstdFrameHeads,
  manifest,
  config,
  authHeader,
  httpHeaders,
  reference,
  dockerConfig,
  helperAnswer,
  layerIndex,
  ext4,
];
