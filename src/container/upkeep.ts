/**
 * What containers stand on besides images, as the library offers it: kernels, saved machines, networks. Loaded when it is
 * asked for.
 */
import type * as cni from "./cni.ts";
import type * as kernels from "./kernels.ts";
import type * as membership from "./lifecycle/membership.ts";
import type * as networks from "./networks.ts";
import type * as templates from "./templates.ts";

/**
 * Saved machines, used last first.
 * @function
 */
export const listTemplates: typeof templates.listTemplates = async (...given) =>
  await (await import("./templates.ts")).listTemplates(...given);

/**
 * The template for containers of a size, made unless it is here.
 * @throws FlameBoxError `invalid-option`, `templates-unsupported`, `template-failed`, and those of a start
 * @function
 */
export const buildTemplate: typeof templates.buildTemplate = async (...given) =>
  await (await import("./templates.ts")).buildTemplate(...given);

/**
 * Removes templates; machines that were restored from them go on.
 * @throws MachineError `template-not-found`, `ambiguous-template-key`
 * @function
 */
export const removeTemplates: typeof templates.removeTemplates = async (...given) =>
  await (await import("./templates.ts")).removeTemplates(...given);

/**
 * Removes templates that no start would use any more.
 * @function
 */
export const pruneTemplates: typeof templates.pruneTemplates = async (...given) =>
  await (await import("./templates.ts")).pruneTemplates(...given);

/**
 * The kernels that are here: Debian's, those built here, and those given by `--kernel`.
 * @function
 */
export const listKernels: typeof kernels.listKernels = async (...given) =>
  await (await import("./kernels.ts")).listKernels(...given);

/**
 * Builds the tuned kernel from Debian's source.
 * @throws FlameBoxError `build-tools-missing`, `kernel-unavailable`, `bad-fragment`, `fragment-refused`,
 *   `kernel-build-failed`, `disk-full`, `invalid-option`
 * @function
 */
export const buildKernel: typeof kernels.buildKernel = async (...given) =>
  await (await import("./kernels.ts")).buildKernel(...given);

/**
 * Chooses the kernel of all machines from now on.
 * @throws MachineError `kernel-not-found`, `ambiguous-kernel-name`
 * @function
 */
export const useKernel: typeof kernels.useKernel = async (...given) =>
  await (await import("./kernels.ts")).useKernel(...given);

/**
 * Removes kernels that are not in use.
 * @throws MachineError `kernel-not-found`, `ambiguous-kernel-name`, `kernel-in-use`
 * @function
 */
export const removeKernels: typeof kernels.removeKernels = async (...given) =>
  await (await import("./kernels.ts")).removeKernels(...given);

/**
 * Makes a network, in which containers reach each other by name.
 * @throws NetworkError `invalid-network`, `network-exists`, `no-free-subnet`
 * @function
 */
export const createNetwork: typeof networks.createNetwork = async (...given) =>
  await (await import("./networks.ts")).createNetwork(...given);

/**
 * The networks that are here, and who is in them now.
 * @function
 */
export const listNetworks: typeof networks.listNetworks = async (...given) =>
  await (await import("./networks.ts")).listNetworks(...given);

/**
 * The networks of CNI that containers can be in; none for others than root.
 * @throws NetworkError `cni-bad-config`
 * @function
 */
export const listCniNetworks: typeof cni.cniNetworks = async (...given) =>
  await (await import("./cni.ts")).cniNetworks(...given);

/**
 * A network, and who is in it now. @throws FlameBoxError `network-not-found`
 * @function
 */
export const inspectNetwork: typeof networks.inspectNetwork = async (...given) =>
  await (await import("./networks.ts")).inspectNetwork(...given);

/**
 * Removes a network that nobody is in.
 * @throws NetworkError `network-missing`, `network-in-use`
 * @function
 */
export const removeNetwork: typeof networks.removeNetwork = async (...given) =>
  await (await import("./networks.ts")).removeNetwork(...given);

/**
 * Removes every network that nobody is in.
 * @function
 */
export const pruneNetworks: typeof networks.pruneNetworks = async (...given) =>
  await (await import("./networks.ts")).pruneNetworks(...given);

/**
 * Puts a container that does not run into a network, from its next start on. `user` is outbound through the host.
 * @throws FlameBoxError `container-running`; `container-connected` when it is in a network already; `invalid-option`;
 *   NetworkError `network-missing`, `invalid-address`
 * @function
 */
export const connectNetwork: typeof membership.connectNetwork = async (...given) =>
  await (await import("./lifecycle/membership.ts")).connectNetwork(...given);

/**
 * Takes a container that does not run out of its network: it has none from its next start on.
 * @throws FlameBoxError `container-running`, `container-not-connected`
 * @function
 */
export const disconnectNetwork: typeof membership.disconnectNetwork = async (...given) =>
  await (await import("./lifecycle/membership.ts")).disconnectNetwork(...given);
