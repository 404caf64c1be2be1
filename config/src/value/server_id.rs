//! Server ids in connection ids of QUIC.

use tidegate_abi::SERVER_ID_MAX;

use super::Text;
use crate::desired::ServerId;
use crate::diagnostic::quote;

impl Text for ServerId {
    fn kind() -> String {
        format!("1 to {SERVER_ID_MAX} octets in hexadecimal")
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": format!("^([0-9A-Fa-f]{{2}}){{1,{SERVER_ID_MAX}}}$") })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let digits = text.chars().map(|c| c.to_digit(16).and_then(|it| u8::try_from(it).ok()));
        let digits: Option<Vec<u8>> = digits.collect();
        let octets = digits.filter(|digits| digits.len().is_multiple_of(2)).map(|digits| {
            let (pairs, _) = digits.as_chunks::<2>();
            pairs.iter().map(|&[high, low]| high << 4 | low).collect::<Vec<u8>>()
        });
        octets.and_then(|octets| Self::new(&octets)).ok_or_else(|| {
            let remedy = format!(
                "write two digits for each octet, at most {SERVER_ID_MAX} octets: \"0a1f\""
            );
            (format!("{} is no server id", quote(text)), remedy)
        })
    }
}
