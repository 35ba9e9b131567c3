//! The name servers of a resolv.conf (resolv.conf(5)).

use std::net::{IpAddr, SocketAddr};

use weft_core::limits;

const PORT: u16 = 53;

/// The name servers that `text` names, in order, at most [`limits::DNS_SERVERS_MAX`]. A line that can't be read is
/// passed over, as every resolver does.
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = (words.next()? == "nameserver").then(|| words.next())??;
            let address: IpAddr = address.parse().ok()?;
            Some(SocketAddr::new(address, PORT))
        })
        .take(limits::DNS_SERVERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_and_the_rest_is_passed_over() {
        let text = "# nameserver 9.9.9.9\nsearch a b\n nameserver 10.96.0.10 \nnameserver fd00::53\n\
                    nameserver fe80::1%eth0\nnameserver\noptions ndots:5\nnameserver 1.1.1.1\nnameserver 8.8.8.8";
        let servers: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.96.0.10:53", "[fd00::53]:53", "1.1.1.1:53"]);
        assert!(name_servers("").is_empty());
    }
}
