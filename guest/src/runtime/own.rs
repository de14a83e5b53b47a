//! The part of config.json that is carried out here, because libcontainer does not, or not well: seccomp,
//! resources and device rules, hooks, and what becomes of a mount after it was made.

use libcontainer::oci_spec::runtime::{LinuxResources, Spec};
use serde_json::{Value, json};

use super::hooks::Hooks;
use super::propagation::{self, Change};
use super::seccomp::{self, Filter};
use super::{devices, resources};
use crate::mounts::Layout;
use crate::protocol::message::Failure;

pub struct Own {
    pub filter: Option<Filter>,
    pub resources: LinuxResources,
    pub devices: Vec<devices::Rule>,
    pub hooks: Hooks,
    pub changes: Vec<Change>,
}

impl Own {
    /// Takes it out of config.json, so that it is done once.
    pub fn take(
        config: &mut Value,
        spec: &Spec,
        id: &str,
        layout: &Layout,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        let linux = spec.linux().as_ref();
        let filter = match linux.and_then(|linux| linux.seccomp().as_ref()) {
            Some(profile) => Some(seccomp::compile(profile, warnings)?),
            None => None,
        };
        let limits = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
        resources::check(&limits)?;
        let devices = devices::rules(limits.devices().as_deref().unwrap_or_default())?;
        let hooks = Hooks::take(config, id, &layout.directory, layout.rootfs())?;
        let changes = propagation::take(config);
        if let Some(linux) = config["linux"].as_object_mut() {
            // libcontainer leaves `seccomp` alone, and whoever joins the container finds it there.
            linux.remove("resources");
        }
        Ok(Self { filter, resources: limits, devices, hooks, changes })
    }

    pub fn keep_what_the_filter_needs(&self, config: &mut Value) {
        if self.filter.is_some() {
            keep_what_the_filter_needs(config);
        }
    }
}

/// A filter without `no_new_privs` is loaded with CAP_SYS_ADMIN. What init holds when it executes makes no
/// difference to what the program then has: the kernel computes that from the other sets.
/// <https://man7.org/linux/man-pages/man7/capabilities.7.html>, "Transformation of capabilities"
pub fn keep_what_the_filter_needs(config: &mut Value) {
    if config.pointer("/process/noNewPrivileges") == Some(&json!(true)) {
        return;
    }
    for set in ["effective", "permitted"] {
        let set = config.pointer_mut(&format!("/process/capabilities/{set}")).and_then(Value::as_array_mut);
        let needed = json!("CAP_SYS_ADMIN");
        if let Some(set) = set
            && !set.contains(&needed)
        {
            set.push(needed);
        }
    }
}
