use crate::handler::{Result, headers::Headers};

/// The client's address according to the proxies on the way, as they wrote it.
pub(super) fn client(headers: &Headers) -> Result<Option<&str>> {
    if let Some(&leftmost) = headers.list("X-Forwarded-For")?.first() {
        return Ok(Some(leftmost));
    }
    Ok(headers.text("Forwarded")?.and_then(first_for))
}

/// RFC 7239 §4: the node of the first `for`, which may be quoted, and then hold commas and semicolons.
fn first_for(value: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let pairs = value.split(|character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' => return !quoted,
            _ => {}
        }
        false
    });
    let mut parameters = pairs.filter_map(|pair| pair.split_once('='));
    let found = parameters.find(|(name, node)| name.trim().eq_ignore_ascii_case("for") && !node.trim().is_empty());
    found.map(|(_, node)| node.trim())
}

#[cfg(test)]
mod tests {
    use crate::handler::Request;

    #[test]
    fn client_addr_of_what_proxies_write() {
        let table: &[(&str, Option<&str>)] = &[
            ("", None),
            ("X-Forwarded-For: 192.168.1.1, 192.168.1.2\r\n", Some("192.168.1.1")),
            ("X-Forwarded-For: unknown\r\nForwarded: for=192.0.2.1\r\n", Some("unknown")),
            ("X-Forwarded-For:\r\nForwarded: for=192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: , 192.0.2.1\r\n", Some("192.0.2.1")),
            (
                "Forwarded: by=192.168.1.1; for=192.0.2.43, for=\"[2001:db8:cafe::17]\", for=unknown\r\n",
                Some("192.0.2.43"),
            ),
            ("Forwarded: For=\"[2001:db8:cafe::17]:4711\";proto=http\r\n", Some("\"[2001:db8:cafe::17]:4711\"")),
            ("Forwarded: proto=http;by=a, FOR=b\r\n", Some("b")),
            ("Forwarded: by=\"x;for=y, for=\\\";for=z\";for=192.0.2.1\r\n", Some("192.0.2.1")),
            ("Forwarded: forward=a;for=;for\r\n", None),
            ("Forwarded: by=a\r\n", None),
        ];
        for &(lines, expected) in table {
            let request = Request::parse(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap().unwrap();
            assert_eq!(request.client_addr().unwrap(), expected, "{lines:?}");
        }
    }
}
