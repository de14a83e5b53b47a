use super::*;

#[test]
fn macs() {
    for (text, mac) in [
        ("52:54:00:12:34:56", Some([0x52, 0x54, 0, 0x12, 0x34, 0x56])),
        ("52:54:00:12:34", None),
        ("52:54:00:12:34:56:78", None),
        ("53:54:00:12:34:56", None),
        ("5:54:00:12:34:56", None),
        ("+2:54:00:12:34:56", None),
        ("52-54-00-12-34-56", None),
        ("", None),
    ] {
        assert_eq!(parse_mac(text), mac, "{text}");
    }
}

#[test]
fn prefixes() {
    for (text, valid) in [
        ("10.0.2.15/24", true),
        ("fd00::15/64", true),
        ("10.0.2.15/0", true),
        ("10.0.2.15/33", false),
        ("fd00::15/129", false),
        ("10.0.2.15", false),
        ("10.0.2/24", false),
        ("10.0.2.15/+8", false),
        ("10.0.2.15/-1", false),
        ("10.0.2.15/24/24", false),
    ] {
        assert_eq!(parse_prefix(text).is_some(), valid, "{text}");
    }
}

#[test]
fn a_link_local_address_is_made_of_the_mac() {
    for (mac, address) in [
        ([0x52, 0x54, 0, 0x12, 0x34, 0x56], "fe80::5054:ff:fe12:3456"),
        ([0, 1, 2, 3, 4, 5], "fe80::201:2ff:fe03:405"),
    ] {
        assert_eq!(link_local(mac).to_string(), address);
    }
}
