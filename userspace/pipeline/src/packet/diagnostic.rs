//! A packet in CBOR's diagnostic notation (RFC 8949 §8), for people.
//!
//! Owns the notation. The protected header and the payload, which are CBOR within byte strings, are
//! shown as what they hold (`<<…>>`, RFC 8610 §G.3). Never verifies anything.

use ciborium::Value;

/// Everything that the bytes say; `None` when they are not one CBOR item.
#[must_use]
pub fn diagnostic(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    let value: Value = ciborium::from_reader(&mut rest).ok()?;
    rest.is_empty().then(|| written(&value))
}

fn written(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(written).collect::<Vec<_>>().join(", ");
    match value {
        Value::Tag(18, inner) => match inner.as_array().map(Vec::as_slice) {
            Some([protected, unprotected, payload, signature]) => format!(
                "18([{}, {}, {}, {}])",
                embedded(protected),
                written(unprotected),
                embedded(payload),
                written(signature)
            ),
            _ => format!("18({})", written(inner)),
        },
        Value::Tag(tag, inner) => format!("{tag}({})", written(inner)),
        Value::Bytes(bytes) => format!("h'{}'", hex::encode(bytes)),
        Value::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::Array(items) => format!("[{}]", list(items)),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(k, v)| format!("{}: {}", written(k), written(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        _ => "null".to_owned(),
    }
}

fn embedded(value: &Value) -> String {
    let inner = value.as_bytes().and_then(|bytes| diagnostic(bytes));
    inner.map_or_else(|| written(value), |inner| format!("<<{inner}>>"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, sealed, singapore};
    use super::*;

    #[test]
    fn a_packet_is_written_out() {
        let text = diagnostic(&sealed(&singapore()).bytes).unwrap();
        let key = hex::encode(key().public());
        assert!(text.starts_with(&format!("18([<<{{1: -8, 4: h'{key}'}}>>, {{}}, <<{{0: 1, ")));
        for part in ["2: \"spine_leaf\"", "13: 340000", "\"Reduced BFD multiplier from 5 to 3"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(diagnostic(&[0x82, 0xf5, 0x20]).as_deref(), Some("[true, -1]"));
        assert_eq!((diagnostic(&[0xff]), diagnostic(&[0, 0])), (None, None));
    }
}
