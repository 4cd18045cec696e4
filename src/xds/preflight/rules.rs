//! PURE: the rules of protoc-gen-validate for one value: is this number, this text one that Envoy
//! takes? Which rule is for which value is the walk's business.

use envoy_types::pb::google::protobuf::Duration;
use envoy_types::pb::validate::field_rules::Type;
use envoy_types::pb::validate::string_rules::WellKnown;
use envoy_types::pb::validate::{BytesRules, DurationRules, KnownRegex, StringRules};

use crate::xds::wire::Value;

/// The rule that a number, a text, a truth or bytes break.
pub(super) fn broken(rules: &Type, value: &Value<'_>) -> Option<String> {
    macro_rules! range {
        ($kind:ty, $rules:expr, $value:expr) => {{
            let (rules, value) = ($rules, *$value);
            if rules.ignore_empty() && value == <$kind>::default() {
                return None;
            }
            match () {
                () if rules.lt.is_some_and(|max| value >= max) => {
                    Some(format!("must be below {}", rules.lt()))
                }
                () if rules.lte.is_some_and(|max| value > max) => {
                    Some(format!("may not be above {}", rules.lte()))
                }
                () if rules.gt.is_some_and(|min| value <= min) => {
                    Some(format!("must be above {}", rules.gt()))
                }
                () if rules.gte.is_some_and(|min| value < min) => {
                    Some(format!("may not be below {}", rules.gte()))
                }
                () if rules.r#const.is_some_and(|wanted| value != wanted)
                    || (!rules.r#in.is_empty() && !rules.r#in.contains(&value))
                    || rules.not_in.contains(&value) =>
                {
                    Some(format!("may not be {value}"))
                }
                () => None,
            }
        }};
    }
    match (rules, value) {
        (Type::Float(rules), Value::F32(value)) => range!(f32, rules, value),
        (Type::Double(rules), Value::F64(value)) => range!(f64, rules, value),
        (Type::Int32(rules), Value::I32(value)) => range!(i32, rules, value),
        (Type::Int64(rules), Value::I64(value)) => range!(i64, rules, value),
        (Type::Uint32(rules), Value::U32(value)) => range!(u32, rules, value),
        (Type::Uint64(rules), Value::U64(value)) => range!(u64, rules, value),
        (Type::Sint32(rules), Value::I32(value)) => range!(i32, rules, value),
        (Type::Sint64(rules), Value::I64(value)) => range!(i64, rules, value),
        (Type::Fixed32(rules), Value::U32(value)) => range!(u32, rules, value),
        (Type::Fixed64(rules), Value::U64(value)) => range!(u64, rules, value),
        (Type::Sfixed32(rules), Value::I32(value)) => range!(i32, rules, value),
        (Type::Sfixed64(rules), Value::I64(value)) => range!(i64, rules, value),
        (Type::Bool(rules), Value::Bool(value)) => {
            let wanted = rules.r#const.filter(|wanted| wanted != value)?;
            Some(format!("must be {wanted}"))
        }
        (Type::String(rules), Value::String(value)) => text(value, rules),
        (Type::Bytes(rules), Value::Bytes(value)) => bytes(value.len() as u64, rules),
        _ => None,
    }
}

fn text(value: &str, rules: &StringRules) -> Option<String> {
    if value.is_empty() && rules.ignore_empty() {
        return None;
    }
    let (chars, bytes) = (value.chars().count() as u64, value.len() as u64);
    let short = |min: Option<u64>, length| min.is_some_and(|min| length < min);
    let long = |max: Option<u64>, length| max.is_some_and(|max| length > max);
    let has = |part: &Option<String>, test: fn(&str, &str) -> bool| {
        part.as_ref().is_none_or(|part| test(value, part))
    };
    if short(rules.min_len, chars) || short(rules.min_bytes, bytes) {
        let reason = if value.is_empty() {
            "is required"
        } else {
            "is too short"
        };
        return Some(reason.to_owned());
    }
    if long(rules.max_len, chars) || long(rules.max_bytes, bytes) {
        return Some("is too long".to_owned());
    }
    if let Some(WellKnown::WellKnownRegex(known)) = rules.well_known
        && !is_header(value, known, rules.strict.unwrap_or(true))
    {
        return Some("has characters that no header can have".to_owned());
    }
    let listed = rules.r#in.is_empty() || rules.r#in.iter().any(|one| one == value);
    let allowed = listed && !rules.not_in.iter().any(|one| one == value);
    let parts = has(&rules.prefix, |value, part| value.starts_with(part))
        && has(&rules.suffix, |value, part| value.ends_with(part))
        && has(&rules.contains, |value, part| value.contains(part))
        && has(&rules.r#const, |value, part| value == part);
    let pattern = rules.pattern.as_deref().and_then(pattern);
    let matched = pattern.is_none_or(|matches| matches(value));
    (!allowed || !parts || !matched).then(|| "is not of the form that it must have".to_owned())
}

fn is_header(value: &str, known: i32, strict: bool) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+,-.^_|~`".contains(c);
    match (KnownRegex::try_from(known), strict) {
        (Ok(KnownRegex::HttpHeaderName), true) => {
            let name = value.strip_prefix(':').unwrap_or(value);
            !name.is_empty() && name.chars().all(is_name)
        }
        (Ok(KnownRegex::HttpHeaderValue), true) => {
            let allowed = |c: char| c == '\t' || (c >= ' ' && c != '\u{7f}');
            value.chars().all(allowed)
        }
        (Ok(KnownRegex::Unknown) | Err(_), _) => true,
        (Ok(_), false) => !value.contains(['\0', '\n', '\r']),
    }
}

/// Envoy's API has a handful of patterns: each as a function, as no regular expressions are run.
fn pattern(pattern: &str) -> Option<fn(&str) -> bool> {
    const COOKIE: &[char] = &[' ', '"', ',', ';', '<', '>', '\\'];
    fn is_cookie(value: &str) -> bool {
        !value.contains(|c: char| c.is_ascii_control() || COOKIE.contains(&c))
    }
    Some(match pattern {
        r#"^$|^[^\x00-\x1f\x7f ",;<>\\]+$"# => is_cookie,
        r#"^$|^/[^\x00-\x1f\x7f ",;<>\\]*$"# => {
            |value| value.is_empty() || (value.starts_with('/') && is_cookie(value))
        }
        r"^[^?#]+[^?#/]$" => |value| {
            value.chars().count() > 1 && !value.contains(['?', '#']) && !value.ends_with('/')
        },
        r"^[^/]*$" => |value| !value.contains('/'),
        r"^$|^.*\.mmdb$" => |value| value.is_empty() || value.ends_with(".mmdb"),
        r"^[a-z0-9_\-]*$" => |value| {
            let is_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
            value.bytes().all(is_key)
        },
        _ => return None,
    })
}

fn bytes(length: u64, rules: &BytesRules) -> Option<String> {
    if length == 0 && rules.ignore_empty() {
        return None;
    }
    let short = rules.min_len.is_some_and(|min| length < min);
    let long = rules.max_len.is_some_and(|max| length > max);
    let other = rules.len.is_some_and(|wanted| length != wanted);
    (short || long || other).then(|| "has not the length that it must have".to_owned())
}

/// No duration of Envoy's configuration can be negative, be there a rule for it or not.
pub(super) fn duration(seconds: i64, nanos: i32, rules: Option<&DurationRules>) -> Option<String> {
    let whole = |seconds: i64, nanos: i32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let value = whole(seconds, nanos);
    let nanos = |duration: &Duration| whole(duration.seconds, duration.nanos);
    let shown = |duration: &Duration| {
        format!(
            "{:?}",
            std::time::Duration::from_nanos(nanos(duration) as u64)
        )
    };
    if value < 0 {
        return Some("may not be negative".to_owned());
    }
    let rules = rules?;
    if let Some(max) = rules.lt.as_ref().filter(|max| value >= nanos(max)) {
        return Some(format!("must be below {}", shown(max)));
    }
    if let Some(max) = rules.lte.as_ref().filter(|max| value > nanos(max)) {
        return Some(format!("may not be above {}", shown(max)));
    }
    if let Some(min) = rules.gt.as_ref().filter(|min| value <= nanos(min)) {
        return Some(format!("must be above {}", shown(min)));
    }
    let min = rules.gte.as_ref().filter(|min| value < nanos(min))?;
    Some(format!("may not be below {}", shown(min)))
}
