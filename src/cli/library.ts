/**
 * The command line's only door to the library: `src/index.ts`, loaded when a command needs it and not before,
 * because `flamebox version` and `--help` should not pay for a registry client and an image writer.
 */
import type * as library from "../index.ts";

export type Library = typeof library;

export type {
  AttachedContainer,
  AttachedExec,
  BindMount,
  Check,
  ContainerDetails,
  ContainerEvent,
  ContainerExit,
  ContainerInfo,
  ContainerOptions,
  ContainerProcess,
  ContainerStatistics,
  CreateOptions,
  Device,
  DeviceCgroupRule,
  Health,
  EgressOptions,
  HealthcheckOptions,
  HostReport,
  ImageInfo,
  KernelInfo,
  LogEntry,
  LogOptions,
  NetworkInfo,
  OnProgress,
  OperationOptions,
  Paths,
  PortMapping,
  ProgressEvent,
  PullOptions,
  RemovedImage,
  RestartPolicy,
  RootfsFormat,
  RunningContainer,
  TemplateInfo,
  TmpfsMount,
  Ulimit,
  Volume,
} from "../index.ts";
