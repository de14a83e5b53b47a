//! The machine's one interface, as the host wants it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use super::interface::{Change, INTERFACE, Sockets};
use crate::protocol::message::{Code, Failure, Network};

const LOOPBACK: &str = "lo";

const MAX_ADDRESSES: usize = 16;

/// A network request whose every string was understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    mac: Option<[u8; 6]>,
    mtu: Option<u32>,
    addresses: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
}

impl Plan {
    pub fn parse(wanted: &Network) -> Result<Self, Failure> {
        let invalid = |what: String| Failure::new(Code::InvalidRequest, format!("network: {what}"));
        if wanted.addresses.len() > MAX_ADDRESSES || wanted.gateways.len() > 2 {
            return Err(invalid("at most 16 addresses and 2 gateways".to_owned()));
        }
        let mac = match &wanted.mac {
            Some(text) => Some(parse_mac(text).ok_or_else(|| invalid(format!("mac {text:?}")))?),
            None => None,
        };
        if let Some(mtu) = wanted.mtu
            && !(68..=65_535).contains(&mtu)
        {
            return Err(invalid(format!("mtu {mtu}")));
        }
        let addresses = wanted
            .addresses
            .iter()
            .map(|text| parse_prefix(text).ok_or_else(|| invalid(format!("address {text:?}"))))
            .collect::<Result<_, _>>()?;
        let gateways = wanted
            .gateways
            .iter()
            .map(|text| text.parse().map_err(|_| invalid(format!("gateway {text:?}"))))
            .collect::<Result<_, _>>()?;
        Ok(Self { mac, mtu: wanted.mtu, addresses, gateways })
    }

    /// Sets the interface up. A machine without one keeps its loopback, and that is all right. `before` is what was
    /// applied last: in a machine that was saved with its usual addresses, only the MAC is another.
    pub fn apply(&self, before: Option<&Self>) -> Result<(), Failure> {
        let failed = |what: &str, error: io::Error| Failure::failed(format!("network: {what}: {error}"));
        let sockets = Sockets::open().map_err(|e| failed("socket", e))?;
        if let Some(mac) = self.mac
            && before.is_some_and(|before| *before == Self { mac: before.mac, ..self.clone() })
        {
            // The kernel announces the addresses with it.
            return sockets.set_mac(mac).map_err(|e| failed("mac", e));
        }
        if let (Some(mac), Some(before)) = (self.mac, before) {
            return self.replace(before, mac, &sockets);
        }
        let Some(name) = find_interface() else { return Ok(()) };
        // A name and a MAC can only be changed while the interface is down.
        sockets.set_flags(&name, 0, libc::IFF_UP).map_err(|e| failed("down", e))?;
        if name != INTERFACE {
            sockets.rename(&name).map_err(|e| failed("name", e))?;
        }
        if let Some(mac) = self.mac {
            sockets.set_mac(mac).map_err(|e| failed("mac", e))?;
        }
        if let Some(mtu) = self.mtu {
            sockets.set_mtu(mtu).map_err(|e| failed("mtu", e))?;
        }
        // The host says what the addresses are: nothing is to be learned from the link, and no other node is
        // there whose address could be the same, so that waiting a second for a duplicate is in vain.
        for knob in ["accept_ra", "autoconf", "accept_dad", "router_solicitations"] {
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{INTERFACE}/{knob}"), "0");
        }
        // A network program such as passt can send nothing to a guest that it has not heard: without the guest's
        // MAC, the first connection to a published port would be reset. So the kernel is to announce its IPv4
        // addresses (a gratuitous ARP) as the link comes up, which they must be set before.
        // https://docs.kernel.org/networking/ip-sysctl.html, arp_notify
        fs::write(format!("/proc/sys/net/ipv4/conf/{INTERFACE}/arp_notify"), "1")
            .map_err(|e| failed("arp_notify", e))?;
        self.add_v4(&sockets)?;
        sockets.set_flags(INTERFACE, libc::IFF_UP, 0).map_err(|e| failed("up", e))?;
        // IPv6 addresses and all routes need a link that is up.
        self.add_v6(&sockets)?;
        self.add_gateways(&sockets)
    }

    /// Gives an interface that is up other addresses and gateways. It stays up: in a machine that was restored, taking it
    /// down waits for ever once in a while.
    fn replace(&self, before: &Self, mac: [u8; 6], sockets: &Sockets) -> Result<(), Failure> {
        let failed = |what: &str, error: io::Error| Failure::failed(format!("network: {what}: {error}"));
        if let Some(mtu) = self.mtu
            && before.mtu != self.mtu
        {
            sockets.set_mtu(mtu).map_err(|e| failed("mtu", e))?;
        }
        for gateway in &before.gateways {
            tolerate_missing(sockets.route(*gateway, Change::Remove))
                .map_err(|e| failed("old gateway", e))?;
        }
        for (address, prefix) in &before.addresses {
            if let IpAddr::V6(v6) = address
                && !self.addresses.contains(&(*address, *prefix))
            {
                tolerate_missing(sockets.remove_v6(*v6, *prefix)).map_err(|e| failed("old address", e))?;
            }
        }
        if !self.addresses.iter().any(|(address, _)| address.is_ipv4()) {
            // Nothing takes the place of the old one.
            sockets.clear_v4().map_err(|e| failed("old address", e))?;
        }
        self.add_v4(sockets)?;
        self.add_v6(sockets)?;
        // The kernel announces the addresses with it.
        sockets.set_mac(mac).map_err(|e| failed("mac", e))?;
        if let Some(old) = before.mac {
            // The kernel keeps the one that it made of the old MAC, which any number of machines have had. A kernel
            // without IPv6 has none.
            let _ = sockets.remove_v6(link_local(old), 64);
            let _ = sockets.add_v6(link_local(mac), 64);
        }
        self.add_gateways(sockets)
    }

    fn add_gateways(&self, sockets: &Sockets) -> Result<(), Failure> {
        for gateway in &self.gateways {
            sockets
                .route(*gateway, Change::Add)
                .map_err(|e| Failure::failed(format!("network: gateway {gateway}: {e}")))?;
        }
        Ok(())
    }

    fn add_v4(&self, sockets: &Sockets) -> Result<(), Failure> {
        let v4 = self.addresses.iter().filter_map(|(address, prefix)| match address {
            IpAddr::V4(address) => Some((*address, *prefix)),
            IpAddr::V6(_) => None,
        });
        for (alias, (address, prefix)) in v4.enumerate() {
            // A second IPv4 address hangs on an alias: SIOCSIFADDR replaces the one that is there.
            let name = if alias == 0 { INTERFACE.into() } else { format!("{INTERFACE}:{alias}") };
            sockets.add_v4(&name, address, prefix).map_err(|e| address_failed(address.into(), prefix, &e))?;
        }
        Ok(())
    }

    fn add_v6(&self, sockets: &Sockets) -> Result<(), Failure> {
        for (address, prefix) in &self.addresses {
            if let IpAddr::V6(v6) = address {
                sockets.add_v6(*v6, *prefix).map_err(|e| address_failed(*address, *prefix, &e))?;
            }
        }
        Ok(())
    }
}

/// https://www.rfc-editor.org/rfc/rfc4291#appendix-A: of the MAC, its universal bit turned round.
fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
}

fn address_failed(address: IpAddr, prefix: u8, error: &io::Error) -> Failure {
    Failure::failed(format!("network: address {address}/{prefix}: {error}"))
}

pub fn raise_loopback() -> io::Result<()> {
    Sockets::open()?.set_flags(LOOPBACK, libc::IFF_UP, 0)
}

/// The first interface with hardware behind it.
fn find_interface() -> Option<String> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .ok()?
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_name() != OsStr::new(LOOPBACK))
        .filter(|entry| Path::new(&entry.path()).join("device").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().next()
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    // The lowest bit of the first byte marks a group address, which no interface may have.
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

pub fn parse_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok().filter(|_| !prefix.starts_with('+'))?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

/// What is to go may have gone with something else.
fn tolerate_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EADDRNOTAVAIL)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
