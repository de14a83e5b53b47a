/**
 * The command line's only door to the library: `src/index.ts`, loaded when a command needs it and not before,
 * because `flamebox version` and `--help` should not pay for a registry client and an image writer.
 */
import type * as library from "../index.ts";

export type Library = typeof library;

export type {
  BindMount,
  Check,
  ContainerExit,
  ContainerOptions,
  Device,
  DeviceCgroupRule,
  Health,
  HealthcheckOptions,
  HistoryLine,
  HostReport,
  ImageDetails,
  ImageInfo,
  ImageUsage,
  KernelInfo,
  OnProgress,
  OperationOptions,
  Paths,
  PortMapping,
  ProgressEvent,
  PullOptions,
  RemovedImage,
  RunningContainer,
  StoreProblem,
  TemplateInfo,
  TmpfsMount,
  Ulimit,
  Volume,
} from "../index.ts";
