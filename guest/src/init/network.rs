//! The machine's one interface, set up with the classic ioctls: addresses and routes are few and static, so
//! netlink would only be more code.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::protocol::message::{Code, Failure, Network};

const LOOPBACK: &str = "lo";
const INTERFACE: &str = "eth0";

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
        if let (Some(mac), Some(before)) = (self.mac, before)
            && self.mtu == before.mtu
        {
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
        self.add_v4(sockets)?;
        self.add_v6(sockets)?;
        // The kernel announces the addresses with it.
        sockets.set_mac(mac).map_err(|e| failed("mac", e))?;
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

fn parse_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok().filter(|_| !prefix.starts_with('+'))?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

/// `struct in6_ifreq` of linux/ipv6.h.
#[repr(C)]
struct In6Ifreq {
    address: libc::in6_addr,
    prefix: u32,
    index: libc::c_int,
}

/// `struct in6_rtmsg` of linux/ipv6_route.h; libc has it with private fields.
#[repr(C)]
struct In6Rtmsg {
    destination: libc::in6_addr,
    source: libc::in6_addr,
    gateway: libc::in6_addr,
    kind: u32,
    destination_length: u16,
    source_length: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    index: libc::c_int,
}

#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

struct Sockets {
    v4: OwnedFd,
    /// None on a kernel without IPv6.
    v6: Option<OwnedFd>,
}

impl Sockets {
    fn open() -> io::Result<Self> {
        let open = |family| {
            // SAFETY: no memory is involved.
            let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor is new and owned by nobody else.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        Ok(Self { v4: open(libc::AF_INET)?, v6: open(libc::AF_INET6).ok() })
    }

    fn v6(&self) -> io::Result<&OwnedFd> {
        self.v6.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    }

    fn set_flags(&self, name: &str, set: libc::c_int, clear: libc::c_int) -> io::Result<()> {
        let mut request = request_for(name);
        ioctl(&self.v4, libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS has filled this member.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        request.ifr_ifru.ifru_flags = (flags & !clear | set) as libc::c_short;
        ioctl(&self.v4, libc::SIOCSIFFLAGS, &mut request)
    }

    fn rename(&self, name: &str) -> io::Result<()> {
        let mut request = request_for(name);
        request.ifr_ifru.ifru_newname = request_for(INTERFACE).ifr_name;
        ioctl(&self.v4, libc::SIOCSIFNAME, &mut request)
    }

    fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        let mut request = request_for(INTERFACE);
        let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = address;
        ioctl(&self.v4, libc::SIOCSIFHWADDR, &mut request)
    }

    fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = request_for(INTERFACE);
        request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
        ioctl(&self.v4, libc::SIOCSIFMTU, &mut request)
    }

    fn add_v4(&self, name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut request = request_for(name);
        request.ifr_ifru.ifru_addr = sockaddr_v4(address);
        ioctl(&self.v4, libc::SIOCSIFADDR, &mut request)?;
        request.ifr_ifru.ifru_netmask = sockaddr_v4(netmask(prefix));
        ioctl(&self.v4, libc::SIOCSIFNETMASK, &mut request)
    }

    fn add_v6(&self, address: Ipv6Addr, prefix: u8) -> io::Result<()> {
        let mut request =
            In6Ifreq { address: in6(address), prefix: u32::from(prefix), index: self.interface_index()? };
        tolerate_existing(ioctl(self.v6()?, libc::SIOCSIFADDR, &mut request))
    }

    fn remove_v6(&self, address: Ipv6Addr, prefix: u8) -> io::Result<()> {
        let mut request =
            In6Ifreq { address: in6(address), prefix: u32::from(prefix), index: self.interface_index()? };
        ioctl(self.v6()?, libc::SIOCDIFADDR, &mut request)
    }

    /// The default route by way of a gateway.
    fn route(&self, gateway: IpAddr, change: Change) -> io::Result<()> {
        match (gateway, change) {
            (IpAddr::V4(gateway), Change::Add) => self.route_v4(gateway),
            (IpAddr::V4(gateway), Change::Remove) => {
                self.change_route_v4(Ipv4Addr::UNSPECIFIED, Some(gateway), libc::SIOCDELRT)
            }
            (IpAddr::V6(gateway), Change::Add) => self.change_route_v6(gateway, libc::SIOCADDRT),
            (IpAddr::V6(gateway), Change::Remove) => self.change_route_v6(gateway, libc::SIOCDELRT),
        }
    }

    fn route_v4(&self, gateway: Ipv4Addr) -> io::Result<()> {
        let default = self.add_route_v4(Ipv4Addr::UNSPECIFIED, Some(gateway));
        match default {
            // A gateway outside every prefix is reached through a route of its own first.
            Err(error) if error.raw_os_error() == Some(libc::ENETUNREACH) => {
                self.add_route_v4(gateway, None)?;
                self.add_route_v4(Ipv4Addr::UNSPECIFIED, Some(gateway))
            }
            other => other,
        }
    }

    fn add_route_v4(&self, to: Ipv4Addr, gateway: Option<Ipv4Addr>) -> io::Result<()> {
        self.change_route_v4(to, gateway, libc::SIOCADDRT)
    }

    fn change_route_v4(
        &self,
        to: Ipv4Addr,
        gateway: Option<Ipv4Addr>,
        change: libc::Ioctl,
    ) -> io::Result<()> {
        let device = CString::from(c"eth0");
        // SAFETY: a C struct of numbers and a pointer, for all of which zero is a value.
        let mut route: libc::rtentry = unsafe { mem::zeroed() };
        route.rt_dst = sockaddr_v4(to);
        route.rt_genmask = sockaddr_v4(netmask(if gateway.is_some() { 0 } else { 32 }));
        route.rt_flags = libc::RTF_UP;
        if let Some(gateway) = gateway {
            route.rt_gateway = sockaddr_v4(gateway);
            route.rt_flags |= libc::RTF_GATEWAY;
        } else {
            route.rt_flags |= libc::RTF_HOST;
        }
        route.rt_dev = device.as_ptr().cast_mut();
        tolerate_existing(ioctl(&self.v4, change, &mut route))
    }

    fn change_route_v6(&self, gateway: Ipv6Addr, change: libc::Ioctl) -> io::Result<()> {
        let mut route = In6Rtmsg {
            destination: in6(Ipv6Addr::UNSPECIFIED),
            source: in6(Ipv6Addr::UNSPECIFIED),
            gateway: in6(gateway),
            kind: 0,
            destination_length: 0,
            source_length: 0,
            metric: 1024,
            info: 0,
            flags: u32::from(libc::RTF_UP | libc::RTF_GATEWAY),
            index: self.interface_index()?,
        };
        tolerate_existing(ioctl(self.v6()?, change, &mut route))
    }

    fn interface_index(&self) -> io::Result<libc::c_int> {
        let mut request = request_for(INTERFACE);
        ioctl(&self.v4, libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: SIOCGIFINDEX has filled this member.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }
}

/// A second `system.configure` with the same addresses is not an error.
fn tolerate_existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// What is to go may have gone with something else.
fn tolerate_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EADDRNOTAVAIL)) => Ok(()),
        other => other,
    }
}

fn ioctl<T>(socket: &OwnedFd, number: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: each caller pairs the number with the struct that the kernel reads and writes for it.
    match unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(argument)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn request_for(name: &str) -> libc::ifreq {
    // SAFETY: a C struct of numbers and a union of such, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from as libc::c_char;
    }
    request
}

fn sockaddr_v4(address: Ipv4Addr) -> libc::sockaddr {
    // struct sockaddr_in: the family, a port (2 bytes), the address in network order, padding.
    let mut data = [0; 14];
    for (to, from) in data[2..].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

fn in6(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: address.octets() }
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
