use wireline_peers::{Content, Workload};

/// The payload of a workload's messages, the same in every run.
pub(crate) fn payload(workload: &Workload) -> Vec<u8> {
    let bytes = workload.bytes;
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    match workload.content {
        Content::Ascii => (0..bytes).map(|_| b'a' + (numbers.next() % 26) as u8).collect(),
        Content::Binary => (0..bytes).map(|_| numbers.next() as u8).collect(),
        Content::Text => {
            // Cyrillic, two bytes each.
            let letters = (0..bytes / 2).filter_map(|_| char::from_u32(0x430 + (numbers.next() % 32) as u32));
            letters.collect::<String>().into_bytes()
        }
        Content::Json => json(bytes, &mut numbers),
    }
}

/// A list of records of an exchange, filled up with spaces to the length.
fn json(bytes: usize, numbers: &mut Numbers) -> Vec<u8> {
    const SYMBOLS: [&str; 8] = ["ACME", "BOLT", "CRUX", "DUNE", "ECHO", "FLUX", "GRIT", "HALO"];
    let mut text = String::from("[");
    loop {
        let id = 100_000 + numbers.next() % 900_000;
        let symbol = SYMBOLS[(numbers.next() % 8) as usize];
        let side = if numbers.next().is_multiple_of(2) { "buy" } else { "sell" };
        let (price, cents, size) = (numbers.next() % 500, numbers.next() % 100, 1 + numbers.next() % 1000);
        let record = format!(
            r#"{{"id":{id},"symbol":"{symbol}","side":"{side}","price":{price}.{cents:02},"size":{size},"active":true}}"#
        );
        let comma = usize::from(text.len() > 1);
        if text.len() + comma + record.len() + 1 > bytes {
            break;
        }
        text.extend(std::iter::repeat_n(',', comma));
        text.push_str(&record);
    }
    text.extend(std::iter::repeat_n(' ', bytes - 1 - text.len()));
    text.push(']');
    text.into_bytes()
}

/// Xorshift: payloads and masking-keys must look random here, not be it.
#[derive(Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

#[cfg(test)]
mod tests {
    use wireline_peers::WORKLOADS;

    use super::*;

    #[test]
    fn payloads_have_their_length_and_text_is_text() {
        for workload in WORKLOADS {
            let payload = payload(workload);
            assert_eq!(payload.len(), workload.bytes, "{}", workload.name);
            if workload.content != Content::Binary {
                assert!(std::str::from_utf8(&payload).is_ok(), "{}", workload.name);
            }
            if workload.content == Content::Json {
                let value: Result<serde_json::Value, _> = serde_json::from_slice(&payload);
                assert!(value.is_ok_and(|value| value.is_array()), "{}", workload.name);
            }
        }
    }
}
