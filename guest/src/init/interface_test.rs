use super::*;

#[test]
fn netmasks() {
    for (prefix, mask) in [(0, "0.0.0.0"), (8, "255.0.0.0"), (25, "255.255.255.128"), (32, "255.255.255.255")]
    {
        assert_eq!(netmask(prefix).to_string(), mask);
    }
}
