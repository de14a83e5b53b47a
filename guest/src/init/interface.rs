//! What the kernel is asked about interfaces, addresses and routes, with the classic ioctls: they are few and static, so
//! netlink would only be more code.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

pub const INTERFACE: &str = "eth0";
const MOST_ADDRESSES: usize = 64;

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
pub enum Change {
    Add,
    Remove,
}

pub struct Sockets {
    v4: OwnedFd,
    /// None on a kernel without IPv6.
    v6: Option<OwnedFd>,
}

impl Sockets {
    pub fn open() -> io::Result<Self> {
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

    pub fn set_flags(&self, name: &str, set: libc::c_int, clear: libc::c_int) -> io::Result<()> {
        let mut request = request_for(name);
        ioctl(&self.v4, libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS has filled this member.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        request.ifr_ifru.ifru_flags = (flags & !clear | set) as libc::c_short;
        ioctl(&self.v4, libc::SIOCSIFFLAGS, &mut request)
    }

    pub fn rename(&self, name: &str) -> io::Result<()> {
        let mut request = request_for(name);
        request.ifr_ifru.ifru_newname = request_for(INTERFACE).ifr_name;
        ioctl(&self.v4, libc::SIOCSIFNAME, &mut request)
    }

    pub fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        let mut request = request_for(INTERFACE);
        let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = address;
        ioctl(&self.v4, libc::SIOCSIFHWADDR, &mut request)
    }

    pub fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = request_for(INTERFACE);
        request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
        ioctl(&self.v4, libc::SIOCSIFMTU, &mut request)
    }

    pub fn add_v4(&self, name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut request = request_for(name);
        request.ifr_ifru.ifru_addr = sockaddr_v4(address);
        ioctl(&self.v4, libc::SIOCSIFADDR, &mut request)?;
        request.ifr_ifru.ifru_netmask = sockaddr_v4(netmask(prefix));
        ioctl(&self.v4, libc::SIOCSIFNETMASK, &mut request)
    }

    /// Takes the interface's IPv4 addresses away, those without a label of their own.
    pub fn clear_v4(&self) -> io::Result<()> {
        for _ in 0..MOST_ADDRESSES {
            let mut request = request_for(INTERFACE);
            match ioctl(&self.v4, libc::SIOCGIFADDR, &mut request) {
                Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => return Ok(()),
                other => other?,
            }
            request.ifr_ifru.ifru_addr = sockaddr_v4(Ipv4Addr::UNSPECIFIED);
            ioctl(&self.v4, libc::SIOCSIFADDR, &mut request)?;
        }
        Err(io::Error::other("it has addresses without end"))
    }

    pub fn mac(&self) -> io::Result<[u8; 6]> {
        let mut request = request_for(INTERFACE);
        ioctl(&self.v4, libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR has filled this member.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        if address.sa_family != libc::ARPHRD_ETHER {
            return Err(io::Error::other("it is no Ethernet interface"));
        }
        Ok(std::array::from_fn(|at| address.sa_data[at] as u8))
    }

    pub fn mtu(&self) -> io::Result<libc::c_int> {
        let mut request = request_for(INTERFACE);
        ioctl(&self.v4, libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU has filled this member.
        Ok(unsafe { request.ifr_ifru.ifru_mtu })
    }

    pub fn add_v6(&self, address: Ipv6Addr, prefix: u8) -> io::Result<()> {
        let mut request =
            In6Ifreq { address: in6(address), prefix: u32::from(prefix), index: self.interface_index()? };
        tolerate_existing(ioctl(self.v6()?, libc::SIOCSIFADDR, &mut request))
    }

    pub fn remove_v6(&self, address: Ipv6Addr, prefix: u8) -> io::Result<()> {
        let mut request =
            In6Ifreq { address: in6(address), prefix: u32::from(prefix), index: self.interface_index()? };
        ioctl(self.v6()?, libc::SIOCDIFADDR, &mut request)
    }

    /// The default route by way of a gateway.
    pub fn route(&self, gateway: IpAddr, change: Change) -> io::Result<()> {
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
#[path = "interface_test.rs"]
mod tests;
