//! Which regular expressions Envoy takes. It refuses a whole route configuration for one that
//! RE2 cannot read or that compiles to more than its limit, so that is found out here.
//!
//! What is taken is what RE2 and the regex-syntax package read the same way.

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    AssertionKind, Ast, ClassAsciiKind, ClassBracketed, ClassPerl, ClassPerlKind, ClassSet,
    ClassSetItem, Flag, Flags, FlagsItemKind, GroupKind, HexLiteralKind, Literal, LiteralKind,
    RepetitionKind, RepetitionRange,
};

/// Checks an expression for `RegexMatcher.regex`.
///
/// # Errors
/// Why Envoy would refuse it or read it otherwise.
pub(super) fn check(regex: &str) -> Result<(), String> {
    if regex.len() > BYTES_MAX {
        return Err(format!("is longer than {BYTES_MAX} bytes"));
    }
    let ast = Parser::new()
        .parse(regex)
        .map_err(|error| format!("is no regular expression: {}", error.kind()))?;
    let size = Checker { regex }.size(&ast)?;
    match size <= SIZE_MAX {
        true => Ok(()),
        false => Err(format!(
            "is too large: it compiles to {size} instructions, Envoy takes {SIZE_MAX}"
        )),
    }
}

struct Checker<'a> {
    regex: &'a str,
}

impl Checker<'_> {
    /// At most how many instructions RE2 compiles this to. The parser limits how deep it nests.
    fn size(&self, ast: &Ast) -> Result<u64, String> {
        match ast {
            Ast::Empty(_) | Ast::Flags(_) => {
                if let Ast::Flags(set) = ast {
                    flags(&set.flags)?;
                }
                Ok(1)
            }
            Ast::Literal(literal) => byte(literal).map(|_| 1),
            Ast::Dot(_) => Ok(2),
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => Ok(3),
                _ => Err(foreign("its word boundary")),
            },
            Ast::ClassUnicode(_) => Err(foreign("a Unicode class")),
            Ast::ClassPerl(class) => Ok(ranges(&perl(class))),
            Ast::ClassBracketed(class) => bracketed(class).map(|set| ranges(&set)),
            Ast::Repetition(repetition) => {
                if matches!(*repetition.ast, Ast::Repetition(_)) {
                    return Err(foreign("a repetition of a repetition"));
                }
                let span = repetition.op.span;
                let text = self.regex.get(span.start.offset..span.end.offset);
                let inner = self.size(&repetition.ast)?;
                repeated(inner, &repetition.op.kind, text.unwrap_or_default())
            }
            Ast::Group(group) => {
                let own = match &group.kind {
                    GroupKind::NonCapturing(inner) => flags(inner).map(|()| 0)?,
                    GroupKind::CaptureIndex(_) => 2,
                    GroupKind::CaptureName { name, .. } => {
                        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                        if !name.name.chars().all(word) {
                            return Err(foreign("the name of its group"));
                        }
                        2
                    }
                };
                Ok(self.size(&group.ast)?.saturating_add(own))
            }
            Ast::Alternation(alternation) => {
                let jumps = u64::try_from(alternation.asts.len()).unwrap_or(u64::MAX);
                Ok(self.sum(&alternation.asts)?.saturating_add(jumps))
            }
            Ast::Concat(concat) => self.sum(&concat.asts),
        }
    }

    fn sum(&self, asts: &[Ast]) -> Result<u64, String> {
        asts.iter()
            .try_fold(0_u64, |sum, ast| Ok(sum.saturating_add(self.size(ast)?)))
    }
}

fn repeated(inner: u64, kind: &RepetitionKind, text: &str) -> Result<u64, String> {
    let RepetitionKind::Range(range) = kind else {
        return Ok(inner.saturating_add(2));
    };
    // RE2 reads `{,3}` and `{ 2 }` as they stand.
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    if !digit(text.chars().nth(1)) || text.contains(char::is_whitespace) {
        return Err(foreign("its repetition"));
    }
    let (least, most) = match *range {
        RepetitionRange::Exactly(count) => (count, count),
        RepetitionRange::AtLeast(count) => (count, count.saturating_add(1)),
        RepetitionRange::Bounded(least, most) => (least, most),
    };
    if most > REPETITIONS_MAX {
        return Err(format!("repeats more than {REPETITIONS_MAX} times"));
    }
    let (least, most) = (u64::from(least), u64::from(most));
    let optional = most.saturating_sub(least).saturating_mul(2);
    Ok(inner.saturating_mul(most.max(1)).saturating_add(optional))
}

fn flags(flags: &Flags) -> Result<(), String> {
    let known = flags.items.iter().all(|item| match item.kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => matches!(
            flag,
            Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed
        ),
    });
    known
        .then_some(())
        .ok_or_else(|| foreign("one of its flags"))
}

/// Envoy compares bytes: a letter beyond ASCII would be several of them.
fn byte(literal: &Literal) -> Result<u8, String> {
    match &literal.kind {
        LiteralKind::HexFixed(kind) | LiteralKind::HexBrace(kind) if *kind != HexLiteralKind::X => {
            Err(foreign("an escaped character"))
        }
        _ if !literal.c.is_ascii() => {
            Err("has a character beyond ASCII: request paths have them percent-encoded".to_owned())
        }
        _ => Ok(u8::try_from(literal.c).unwrap_or(u8::MAX)),
    }
}

type Bytes = [bool; 256];

fn bracketed(class: &ClassBracketed) -> Result<Bytes, String> {
    let ClassSet::Item(item) = &class.kind else {
        return Err(foreign("a class that is computed from others"));
    };
    let mut set = [false; 256];
    collect(item, &mut set)?;
    Ok(match class.negated {
        true => set.map(|has| !has),
        false => set,
    })
}

fn collect(item: &ClassSetItem, set: &mut Bytes) -> Result<(), String> {
    match item {
        ClassSetItem::Empty(_) => {}
        ClassSetItem::Literal(literal) => {
            let at = byte(literal)?;
            add(set, |byte| byte == at);
        }
        ClassSetItem::Range(range) => {
            let range = byte(&range.start)?..=byte(&range.end)?;
            add(set, |byte| range.contains(&byte));
        }
        ClassSetItem::Ascii(class) => {
            let (kind, negated) = (&class.kind, class.negated);
            add(set, |byte| ascii(kind, byte) != negated);
        }
        ClassSetItem::Perl(class) => {
            let class = perl(class);
            add(set, |byte| class[usize::from(byte)]);
        }
        ClassSetItem::Union(union) => {
            for item in &union.items {
                collect(item, set)?;
            }
        }
        ClassSetItem::Unicode(_) => return Err(foreign("a Unicode class")),
        ClassSetItem::Bracketed(_) => return Err(foreign("a class within a class")),
    }
    Ok(())
}

fn add(set: &mut Bytes, wanted: impl Fn(u8) -> bool) {
    for (byte, has) in (0..=u8::MAX).zip(set) {
        *has |= wanted(byte);
    }
}

fn perl(class: &ClassPerl) -> Bytes {
    let mut set = [false; 256];
    add(&mut set, |byte| {
        let has = match class.kind {
            ClassPerlKind::Digit => byte.is_ascii_digit(),
            ClassPerlKind::Space => byte.is_ascii_whitespace(),
            ClassPerlKind::Word => byte.is_ascii_alphanumeric() || byte == b'_',
        };
        has != class.negated
    });
    set
}

fn ascii(kind: &ClassAsciiKind, byte: u8) -> bool {
    match kind {
        ClassAsciiKind::Alnum => byte.is_ascii_alphanumeric(),
        ClassAsciiKind::Alpha => byte.is_ascii_alphabetic(),
        ClassAsciiKind::Ascii => byte.is_ascii(),
        ClassAsciiKind::Blank => matches!(byte, b' ' | b'\t'),
        ClassAsciiKind::Cntrl => byte.is_ascii_control(),
        ClassAsciiKind::Digit => byte.is_ascii_digit(),
        ClassAsciiKind::Graph => byte.is_ascii_graphic(),
        ClassAsciiKind::Lower => byte.is_ascii_lowercase(),
        ClassAsciiKind::Print => byte.is_ascii_graphic() || byte == b' ',
        ClassAsciiKind::Punct => byte.is_ascii_punctuation(),
        ClassAsciiKind::Space => byte.is_ascii_whitespace() || byte == 0x0b,
        ClassAsciiKind::Upper => byte.is_ascii_uppercase(),
        ClassAsciiKind::Word => byte.is_ascii_alphanumeric() || byte == b'_',
        ClassAsciiKind::Xdigit => byte.is_ascii_hexdigit(),
    }
}

/// How many ranges of bytes a class is, its capitals taken for small letters or not: each is an
/// instruction.
fn ranges(set: &Bytes) -> u64 {
    let mut folded = *set;
    for byte in (0..=u8::MAX).filter(|byte| set[usize::from(*byte)]) {
        folded[usize::from(byte.to_ascii_lowercase())] = true;
        folded[usize::from(byte.to_ascii_uppercase())] = true;
    }
    let count = |set: &Bytes| {
        let starts = set.iter().scan(false, |before, has| {
            let start = *has && !*before;
            *before = *has;
            Some(u64::from(start))
        });
        starts.sum::<u64>()
    };
    count(set).max(count(&folded)).max(1)
}

fn foreign(what: &str) -> String {
    format!("is no expression that RE2 reads the same way: {what}")
}

/// Envoy's default limit (`re2.max_program_size.error_level`) less what every program has.
const SIZE_MAX: u64 = 96;
/// RE2's limit.
const REPETITIONS_MAX: u32 = 1_000;
/// Nothing that compiles to so little is longer, but for classes that repeat themselves.
const BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(regex: &str, expect: &str) {
        let reason = check(regex).unwrap_err();
        assert!(reason.contains(expect), "{regex}: {reason}");
    }

    #[test]
    fn what_re2_reads_is_taken() {
        for regex in [
            "/b[io]t",
            "^/b[io]t$",
            "/[^/]+/v[0-9]{1,3}(/.*)?",
            r"/(?P<name>\w+)\.(?:png|jpe?g)",
            "(?i)/Admin(/|$)",
            r"/a\x2fb\-c\/d[[:alpha:]]*?",
        ] {
            assert_eq!(check(regex), Ok(()), "{regex}");
        }
    }

    #[test]
    fn what_re2_refuses_or_reads_otherwise_is_refused() {
        refused("/a(?=b)", "look-around");
        refused(r"(a)\1", "backreferences");
        refused(r"\C", "unrecognized escape");
        for regex in [
            "(?x)a b",
            "(?u:a)",
            "a**",
            "a{2}{3}",
            r"\u0041",
            r"\pL",
            "[a&&b]",
            "[a[b]]",
            r"\<a",
            r"\b{start}",
            "a{,3}",
            "(?P<a.b>c)",
        ] {
            assert!(check(regex).is_err(), "{regex}");
        }
    }

    #[test]
    fn what_compiles_to_too_much_is_refused() {
        assert_eq!(check(&"a".repeat(96)), Ok(()));
        refused(&"a".repeat(97), "97 instructions");
        refused("a{1000}", "too large");
        refused("a{1001}", "repeats more than");
        refused("((((a{999}){999}){999}){999}){999}", "too large");
        refused(&"[ab]".repeat(2_000), "longer than");
    }

    #[test]
    fn the_size_is_what_re2_reports_or_a_little_more() {
        for (regex, reported) in [
            ("a*", 1),
            ("ab|cd", 4),
            ("(ab|cd)*", 6),
            ("[^/]+", 3),
            (r"\W", 5),
            (r"\s", 3),
            ("a{2,5}", 8),
            ("a{3,}", 4),
            ("(a|bc|def|ghij)", 12),
            ("()", 2),
            ("(?:a|b*|c+)", 8),
            ("[[:^alpha:]]", 3),
            ("(?i)[^k]", 3),
            ("a?b?c?d?", 8),
            (".*", 2),
        ] {
            let ast = Parser::new().parse(regex).unwrap();
            let size = Checker { regex }.size(&ast).unwrap();
            assert!((reported..=reported + 4).contains(&size), "{regex}: {size}");
        }
    }
}
