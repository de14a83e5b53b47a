//! A container's cgroup: made, limited and removed.
//!
//! libcontainer would apply `linux.resources` too, but passes over what cgroup v2 has no file for, and names a
//! file where a person needs the property. Here each property is written, refused or warned of by its name.
//! Source of the conversions: runc, so that a number means what it means everywhere else.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use libcontainer::oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};

use crate::protocol::message::{Code, Failure};

const ROOT: &str = "/sys/fs/cgroup";

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidConfig, message)
}

/// Where `linux.cgroupsPath` is. It is always below the root: the root cgroup is the machine itself.
pub fn locate(path: &str) -> Result<PathBuf, Failure> {
    let parts: Vec<_> = Path::new(path).components().filter(|part| *part != Component::RootDir).collect();
    if parts.is_empty() || !parts.iter().all(|part| matches!(part, Component::Normal(_))) {
        return Err(invalid(format!("linux.cgroupsPath: {path:?} is not a path below the root cgroup")));
    }
    Ok(parts.into_iter().fold(PathBuf::from(ROOT), |path, part| path.join(part)))
}

/// Makes the cgroup with all controllers that the kernel has.
pub fn create(directory: &Path) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::failed(format!("linux.cgroupsPath: {}: {e}", directory.display()));
    let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
    let mut above: Vec<&Path> = directory.ancestors().skip(1).take_while(|p| p.starts_with(ROOT)).collect();
    above.reverse();
    for parent in above {
        fs::create_dir_all(parent).map_err(failed)?;
        for controller in controllers.split_whitespace() {
            // One at a time, and some not at all: what then lacks a file is told when it is written.
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let processes = fs::read_to_string(directory.join("cgroup.procs")).map_err(failed)?;
            if processes.is_empty() { Ok(()) } else { Err(invalid("linux.cgroupsPath: in use by others")) }
        }
        other => other.map_err(failed),
    }
}

/// A cgroup goes when its children have gone. A container may have nested its own; not without end.
pub fn remove(directory: &Path) {
    remove_tree(directory, 0);
}

fn remove_tree(path: &Path, depth: u32) {
    if let Ok(entries) = fs::read_dir(path)
        && depth < 64
    {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_tree(&entry.path(), depth + 1);
            }
        }
    }
    let _ = fs::remove_dir(path);
}

/// Refuses what no kernel with cgroup v2 can do, before anything is made.
pub fn check(resources: &LinuxResources) -> Result<(), Failure> {
    let refuse =
        |name: &str, why: &str| Err(invalid(format!("linux.resources.{name}: not supported: {why}")));
    if let Some(memory) = resources.memory() {
        if memory.kernel().is_some_and(|bytes| bytes > 0)
            || memory.kernel_tcp().is_some_and(|bytes| bytes > 0)
        {
            let name = if memory.kernel().is_some() { "memory.kernel" } else { "memory.kernelTCP" };
            return refuse(name, "cgroup v2 has no limit of its own for it");
        }
        if memory.disable_oom_killer() == Some(true) {
            return refuse("memory.disableOOMKiller", "cgroup v2 cannot do without it");
        }
        if memory.use_hierarchy() == Some(false) {
            return refuse("memory.useHierarchy", "cgroup v2 is a hierarchy");
        }
    }
    if let Some(cpu) = resources.cpu() {
        if cpu.realtime_runtime().is_some_and(|runtime| runtime != 0) {
            return refuse("cpu.realtimeRuntime", "cgroup v2 has no real-time limits");
        }
        if cpu.realtime_period().is_some_and(|period| period != 0) {
            return refuse("cpu.realtimePeriod", "cgroup v2 has no real-time limits");
        }
    }
    if let Some(io) = resources.block_io() {
        if io.leaf_weight().is_some_and(|weight| weight > 0) {
            return refuse("blockIO.leafWeight", "cgroup v2 has no leaf weights");
        }
        let mut devices = io.weight_device().iter().flatten();
        if devices.any(|device| device.leaf_weight().is_some_and(|weight| weight > 0)) {
            return refuse("blockIO.weightDevice[].leafWeight", "cgroup v2 has no leaf weights");
        }
    }
    Ok(())
}

/// Sets the limits of a cgroup in which nothing runs yet.
pub fn limit(
    directory: &Path,
    resources: &LinuxResources,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut cgroup = Cgroup { directory, warnings };
    if let Some(memory) = resources.memory() {
        cgroup.limit_memory(memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        cgroup.limit_cpu(cpu)?;
    }
    // 0 is what older writers of config.json mean by absent, and runc takes it for that.
    match resources.pids().as_ref().map_or(0, |pids| pids.limit()) {
        0 => {}
        count => cgroup.write("pids.limit", "pids.max", &or_max(count))?,
    }
    if let Some(io) = resources.block_io() {
        cgroup.limit_io(io)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        cgroup.limit_huge_pages(limit)?;
    }
    // Last, as it names files and so knows best.
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    for (file, value) in files {
        cgroup.write_unified(file, value)?;
    }
    Ok(())
}

struct Cgroup<'a> {
    directory: &'a Path,
    warnings: &'a mut Vec<String>,
}

impl Cgroup<'_> {
    fn has(&self, file: &str) -> bool {
        self.directory.join(file).exists()
    }

    fn warn(&mut self, property: &str, why: &str) {
        self.warnings.push(format!("linux.resources.{property}: {why}"));
    }

    fn write(&self, property: &str, file: &str, value: &str) -> Result<(), Failure> {
        fs::write(self.directory.join(file), value).map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::ENOENT) => "this machine's kernel does not have it".to_owned(),
                _ => error.to_string(),
            };
            invalid(format!("linux.resources.{property}: {value:?}: {why}"))
        })
    }

    fn limit_memory(&mut self, memory: &LinuxMemory) -> Result<(), Failure> {
        let limit = memory.limit().filter(|limit| *limit != 0);
        if let Some(limit) = limit {
            self.write("memory.limit", "memory.max", &or_max(limit))?;
        }
        self.limit_swap(limit, memory.swap().filter(|swap| *swap != 0))?;
        if let Some(reservation) = memory.reservation().filter(|bytes| *bytes != 0) {
            self.write("memory.reservation", "memory.low", &or_max(reservation))?;
        }
        if memory.swappiness().is_some() {
            self.warn("memory.swappiness", "cgroup v2 has none, and the machine no swap");
        }
        Ok(())
    }

    /// The property is memory and swap together; the file is swap alone.
    fn limit_swap(&mut self, limit: Option<i64>, swap: Option<i64>) -> Result<(), Failure> {
        const FILE: &str = "memory.swap.max";
        let value = match (limit, swap) {
            (None, None) => return Ok(()),
            (Some(-1), None) | (_, Some(-1)) => "max".to_owned(),
            (Some(_), None) => return Ok(()),
            (None | Some(-1), Some(_)) => return Err(invalid("linux.resources.memory.swap: needs a limit")),
            (Some(limit), Some(swap)) if swap < limit => {
                return Err(invalid(format!(
                    "linux.resources.memory.swap: {swap} is below the limit {limit}"
                )));
            }
            (Some(limit), Some(swap)) => (swap - limit).to_string(),
        };
        if self.has(FILE) { self.write("memory.swap", FILE, &value) } else { Ok(()) }
    }

    fn limit_cpu(&mut self, cpu: &LinuxCpu) -> Result<(), Failure> {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            self.write("cpu.shares", "cpu.weight", &weight_of(shares).to_string())?;
        }
        let quota = cpu.quota().filter(|quota| *quota != 0);
        let period = cpu.period().filter(|period| *period != 0);
        if quota.is_some() || period.is_some() {
            let quota = or_max(quota.filter(|quota| *quota > 0).unwrap_or(-1));
            let period = period.unwrap_or(100_000);
            let property = if cpu.quota().is_some() { "cpu.quota" } else { "cpu.period" };
            self.write(property, "cpu.max", &format!("{quota} {period}"))?;
        }
        if let Some(burst) = cpu.burst() {
            self.write("cpu.burst", "cpu.max.burst", &burst.to_string())?;
        }
        if let Some(cpus) = cpu.cpus().as_deref().filter(|cpus| !cpus.is_empty()) {
            self.write("cpu.cpus", "cpuset.cpus", cpus)?;
        }
        if let Some(nodes) = cpu.mems().as_deref().filter(|nodes| !nodes.is_empty()) {
            self.write("cpu.mems", "cpuset.mems", nodes)?;
        }
        // Behind the weight, which an idle cgroup does not take.
        match cpu.idle() {
            Some(idle) => self.write("cpu.idle", "cpu.idle", &idle.to_string()),
            None => Ok(()),
        }
    }

    fn limit_io(&mut self, io: &LinuxBlockIo) -> Result<(), Failure> {
        if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
            if self.has("io.bfq.weight") {
                self.write("blockIO.weight", "io.bfq.weight", &weight.to_string())?;
            } else if self.has("io.weight") {
                // From 10 … 1000 to 1 … 10000.
                let weight = 1 + (u32::from(weight).max(10) - 10) * 9_999 / 990;
                self.write("blockIO.weight", "io.weight", &weight.to_string())?;
            } else {
                self.warn("blockIO.weight", "this machine's kernel has no I/O weights");
            }
        }
        for device in io.weight_device().iter().flatten() {
            let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
            if self.has("io.bfq.weight") {
                let value = format!("{}:{} {weight}", device.major(), device.minor());
                self.write("blockIO.weightDevice", "io.bfq.weight", &value)?;
            } else {
                self.warn("blockIO.weightDevice", "this machine's kernel has no I/O weights of devices");
            }
        }
        for (property, key, devices) in [
            ("blockIO.throttleReadBpsDevice", "rbps", io.throttle_read_bps_device()),
            ("blockIO.throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device()),
            ("blockIO.throttleReadIOPSDevice", "riops", io.throttle_read_iops_device()),
            ("blockIO.throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device()),
        ] {
            for device in devices.iter().flatten() {
                self.write(property, "io.max", &throttle(device, key))?;
            }
        }
        Ok(())
    }

    fn limit_huge_pages(&mut self, limit: &LinuxHugepageLimit) -> Result<(), Failure> {
        let size = limit.page_size();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(invalid(format!("linux.resources.hugepageLimits: {size:?} is not a page size")));
        }
        let value = limit.limit().to_string();
        self.write("hugepageLimits", &format!("hugetlb.{size}.max"), &value)?;
        let reserved = format!("hugetlb.{size}.rsvd.max");
        if self.has(&reserved) { self.write("hugepageLimits", &reserved, &value) } else { Ok(()) }
    }

    /// Files of controllers only: those of cgroups themselves are the runtime's.
    fn write_unified(&mut self, file: &str, value: &str) -> Result<(), Failure> {
        let property = format!("unified[{file:?}]");
        let controller = file.split_once('.').map(|(controller, _)| controller);
        let mine = matches!(file, "cgroup.max.depth" | "cgroup.max.descendants");
        if file.contains('/') || controller.is_none() || (controller == Some("cgroup") && !mine) {
            return Err(invalid(format!("linux.resources.{property}: not the file of a controller")));
        }
        self.write(&property, file, value)
    }
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn throttle(device: &LinuxThrottleDevice, key: &str) -> String {
    let rate = match device.rate() {
        0 => "max".to_owned(),
        rate => rate.to_string(),
    };
    format!("{}:{} {key}={rate}", device.major(), device.minor())
}

/// CPU shares (2 … 262144, usually 1024) as a weight (1 … 10000, usually 100): a curve through the three.
/// <https://github.com/opencontainers/cgroups/pull/20>
fn weight_of(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
#[path = "resources_test.rs"]
mod tests;
