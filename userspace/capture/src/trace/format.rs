//! Owns the reading of a tracepoint's `format` file: where each field lies, and the names that the
//! kernel prints for a field's values.
//!
//! ```text
//! name: kfree_skb
//! format:
//!         field:enum skb_drop_reason reason;  offset:36;  size:4;  signed:0;
//! print fmt: "… reason: %s", …, __print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, …)
//! ```
//!
//! **Invariant:** no text makes this panic or take more than linear time; what is not understood is
//! left out.

use std::collections::BTreeMap;

/// Fields of one tracepoint that are kept at most; the largest of the kernel's has about 60.
pub const FIELDS_MAX: usize = 256;
/// Names of one field's values that are kept at most.
pub const SYMBOLS_MAX: usize = 4096;

/// A field of a tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, without array bounds.
    pub name: String,
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// Why a tracepoint cannot be used with what its format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is no such field.
    #[error("its record has no field {0}")]
    NoField(&'static str),
    /// The field is of another size.
    #[error("its field {field} has {found} bytes instead of {expected}")]
    Size {
        /// The field.
        field: &'static str,
        /// As the format says.
        found: u32,
        /// As the program reads it.
        expected: u32,
    },
    /// The field lies too far behind the record's start to be believed.
    #[error("its field {field} lies at offset {offset}")]
    Offset {
        /// The field.
        field: &'static str,
        /// As the format says.
        offset: u32,
    },
}

/// No record is longer: the kernel's per-CPU buffer for them is 8 KiB.
const OFFSET_MAX: u32 = 8192;

/// A tracepoint's format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    fields: Vec<Field>,
    text: String,
}

impl Format {
    /// Reads the text of a `format` file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(field).take(FIELDS_MAX).collect();
        Self { fields, text: text.to_owned() }
    }

    /// The fields in the order of the file.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The offset of a field that must be `size` bytes long.
    ///
    /// # Errors
    /// [`FormatError`] when it is not there, or not of that size.
    pub fn offset(&self, name: &'static str, size: u32) -> Result<u32, FormatError> {
        let field = self
            .fields
            .iter()
            .find(|field| field.name == name)
            .ok_or(FormatError::NoField(name))?;
        if field.size != size {
            return Err(FormatError::Size { field: name, found: field.size, expected: size });
        }
        if field.offset > OFFSET_MAX {
            return Err(FormatError::Offset { field: name, offset: field.offset });
        }
        Ok(field.offset)
    }

    /// The names that the kernel prints for the values of a field, at most [`SYMBOLS_MAX`]; empty
    /// when it prints numbers.
    #[must_use]
    pub fn symbols(&self, field: &str) -> BTreeMap<u32, String> {
        let start = format!("__print_symbolic(REC->{field},");
        let mut names = BTreeMap::new();
        let Some((_, mut rest)) = self.text.split_once(&start) else { return names };
        while names.len() < SYMBOLS_MAX {
            rest = rest.trim_start_matches([' ', '\t', '\n', ',']);
            let Some(pair) = rest.strip_prefix('{') else { break };
            let Some((inside, after)) = pair.split_once('}') else { break };
            if let Some((value, name)) = symbol(inside) {
                names.insert(value, name.to_owned());
            }
            rest = after;
        }
        names
    }
}

/// `field:TYPE NAME; offset:N; size:N; signed:N;`
fn field(line: &str) -> Option<Field> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let offset = parts.next()?.strip_prefix("offset:")?.parse().ok()?;
    let size = parts.next()?.strip_prefix("size:")?.parse().ok()?;
    let name = declaration.rsplit([' ', '*', '\t']).next()?;
    let name = name.split('[').next().unwrap_or_default();
    (!name.is_empty()).then(|| Field { name: name.to_owned(), offset, size })
}

/// `VALUE, "NAME"`, the value decimal or hexadecimal. A value that is a name itself, as some
/// tracepoints have it, is left out.
fn symbol(pair: &str) -> Option<(u32, &str)> {
    let (value, name) = pair.split_once(',')?;
    let value = value.trim();
    let value = match value.strip_prefix("0x") {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => value.parse(),
    };
    let name = name.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some((value.ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KFREE_SKB: &str = include_str!("../../../fixtures/tracepoints/kfree_skb.format");
    const STATE: &str = include_str!("../../../fixtures/tracepoints/inet_sock_set_state.format");
    const OLD: &str = include_str!("../../../fixtures/tracepoints/kfree_skb-without-reason.format");

    #[test]
    fn offsets_are_those_of_the_file() {
        let format = Format::parse(KFREE_SKB);
        assert_eq!(format.offset("reason", 4), Ok(36));
        assert_eq!(format.offset("skbaddr", 8), Ok(8));
        assert_eq!(format.fields().len(), 9);
        let format = Format::parse(STATE);
        assert_eq!(format.offset("saddr_v6", 16), Ok(40), "array bounds are no part of a name");
        assert_eq!(format.offset("sport", 2), Ok(24));
    }

    #[test]
    fn a_field_that_is_not_as_expected_is_named() {
        let format = Format::parse(OLD);
        assert_eq!(format.offset("reason", 4), Err(FormatError::NoField("reason")));
        let wrong = FormatError::Size { field: "protocol", found: 2, expected: 4 };
        assert_eq!(format.offset("protocol", 4), Err(wrong));
        let far = Format::parse("field:int x;\toffset:99999;\tsize:4;\tsigned:1;");
        let error = far.offset("x", 4).unwrap_err();
        assert_eq!(error, FormatError::Offset { field: "x", offset: 99_999 });
    }

    #[test]
    fn reasons_have_the_kernels_names() {
        let names = Format::parse(KFREE_SKB).symbols("reason");
        assert_eq!(names.len(), 127);
        assert_eq!(names[&2], "NOT_SPECIFIED");
        assert_eq!(names[&64], "QDISC_DROP");
        assert_eq!(names[&128], "MAX");
        assert!(Format::parse(OLD).symbols("reason").is_empty());
        let states = Format::parse(STATE).symbols("newstate");
        assert_eq!(states[&12], "TCP_NEW_SYN_RECV", "the second list of the file");
    }

    #[test]
    fn what_is_no_pair_of_a_number_and_a_name_is_left_out() {
        let text = r#"x __print_symbolic(REC->a, { TCP_CLOSE, "A" }, {0x10,"B"}, {3, C}, { 4, "D" }), { 5, "E" }"#;
        let names = Format::parse(text).symbols("a");
        let expected = [(4, "D"), (16, "B")].map(|(value, name)| (value, name.to_owned()));
        assert_eq!(names, BTreeMap::from(expected));
        let open = Format::parse(r#"__print_symbolic(REC->a, { 1, "A" }, { 2"#).symbols("a");
        assert_eq!(open.len(), 1, "a file that was cut off");
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in ".{0,400}", field in "[a-z{]{0,4}") {
            let format = Format::parse(&text);
            prop_assert!(format.fields().len() <= FIELDS_MAX);
            prop_assert!(format.symbols(&field).len() <= SYMBOLS_MAX);
        }

        #[test]
        fn a_damaged_file_never_panics(at in 0..KFREE_SKB.len(), byte: u8) {
            let mut bytes = KFREE_SKB.as_bytes().to_vec();
            bytes[at] = byte;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let format = Format::parse(&text);
            prop_assert!(format.symbols("reason").len() <= 127);
        }

        #[test]
        fn fields_survive_a_round_trip(
            fields in proptest::collection::vec(("[a-z_]{1,12}", 0u32..8192, 1u32..64), 0..20)
        ) {
            let text: String = fields
                .iter()
                .map(|(name, offset, size)| {
                    format!("\tfield:const void * {name};\toffset:{offset};\tsize:{size};\tsigned:0;\n")
                })
                .collect();
            let expected: Vec<Field> = fields
                .into_iter()
                .map(|(name, offset, size)| Field { name, offset, size })
                .collect();
            let format = Format::parse(&text);
            prop_assert_eq!(format.fields(), expected);
        }
    }
}
